import { mount } from "svelte";
import App from "./App.svelte";
import { chat } from "./state/chat.svelte";
import { server } from "./state/server.svelte";
import { settings } from "./state/settings.svelte";
import "./styles/index.css";

settings.keep();
void server.connect();
chat.start();
mount(App, { target: document.getElementById("app")! });
