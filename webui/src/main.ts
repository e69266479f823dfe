import { mount } from "svelte";
import App from "./App.svelte";
import { chat } from "./state/chat.svelte";
import { server } from "./state/server.svelte";
import { settings } from "./state/settings.svelte";
import "./styles/index.css";

// The web UI was built anew: what this page would load now is gone.
addEventListener("vite:preloadError", () => {
  const last = Number(sessionStorage.getItem("llamahttp.reloaded") ?? 0);
  if (server.health !== "ready" || Date.now() - last < 60_000) return;
  sessionStorage.setItem("llamahttp.reloaded", String(Date.now()));
  location.reload();
});
settings.keep();
void server.connect();
chat.start();
mount(App, { target: document.getElementById("app")! });
