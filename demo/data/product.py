# ruff: noqa: E501  (a wording reads best on one line)
"""Product: questions about llamahttp itself."""

from __future__ import annotations

from .dialogue import Turn
from .draw import Draw

IT = "[llamahttp|llamahttp|llamahttp|it|this server|the server|this program]"
# wordings, the reply, and what of it must be there
QUESTIONS: tuple[tuple[tuple[str, ...], str, tuple[str, ...]], ...] = (
    (
        ("[What is|What's|Explain|Tell me about|Describe] [llamahttp|this server|this program].", "What does " + IT + " do?"),
        "llamahttp is a server for language models. It runs GGUF files with libllama and speaks the OpenAI API.",
        ("GGUF", "OpenAI"),
    ),
    (
        (
            "How [do|can] I [load|use|run|serve|start|try|open] [my own|another|a real|a different|a bigger|a better|a] model"
            "[ with " + IT + "|]?",
            "[Load|Change|Switch] [the|another|my] model.",
            "[Which|What] [flag|option] [loads|sets|chooses] [the|a] model?",
        ),
        "Start it with your file: llamahttp -m model.gguf",
        ("llamahttp -m model.gguf",),
    ),
    (
        (
            "[Which|What] port does " + IT + " [use|listen on|run on]?",
            "[On which port|Where] does " + IT + " listen?",
            "[Which|What] is the [default |]port[ of " + IT + "|]?",
        ),
        "It listens on port 8080.",
        ("8080",),
    ),
    (
        (
            "How [do|can] I [change|set|choose] the port[ of " + IT + "|]?",
            "[Use|Listen on] another port.",
            "[Which|What] [flag|option] [sets|changes] the port?",
        ),
        "Give the port with --port, for example: llamahttp --port 9000",
        ("--port",),
    ),
    (
        (
            "[Which|What] endpoints [are there|does " + IT + " have|can I use|do you have|does " + IT + " offer]?",
            "[List|Show|Name] the endpoints[ of " + IT + "|].",
            "[What is|Which is] the [API|path|URL] [of|for] " + IT + "?",
        ),
        "The main endpoints are /v1/chat/completions, /v1/completions, /completion, /v1/models, /tokenize, /props and /health.",
        ("/v1/chat/completions", "/health"),
    ),
    (
        (
            "How [do|can] I [set|change|choose|make] [the|a larger|a longer|a bigger] context[ size| length| window|]?",
            "[Which|What] [flag|option] [sets|changes] the context[ size|]?",
            "The context is too [small|short].",
        ),
        "Set the context with -c, for example: llamahttp -m model.gguf -c 8192",
        ("-c 8192",),
    ),
    (
        (
            "How [do|can] I [set|use|add|require] an API key?",
            "[Which|What] [flag|option] sets the API key?",
            "How [do|can] I [protect|secure|lock] [the|my|this] server?",
        ),
        "Set a key with --api-key, and send it as a bearer token.",
        ("--api-key",),
    ),
    (
        (
            "How [do|can] I [set|change|get|use] [the number of slots|more slots|the slots]?",
            "How [do|can] I serve [more|several|many] [users|clients|requests] at [once|the same time]?",
            "[What are|What is|How do I set] parallel [slots|requests]?",
        ),
        "Set the number of slots with -np, for example: llamahttp -m model.gguf -np 8",
        ("-np 8",),
    ),
    (
        (
            "Where is the [web page|web UI|web interface|chat page|user interface|website]?",
            "How [do|can] I [open|use|find|see] the [web page|web UI|web interface|chat page]?",
            "[Is there|Do you have] a [web page|web UI|web interface|chat page]?",
        ),
        "Open http://127.0.0.1:8080 in your browser.",
        ("http://127.0.0.1:8080",),
    ),
    (
        (
            "How [do|can] I [use|run on] [the|my|a] [GPU|graphics card]?",
            "[Can|Does] " + IT + " use [a|the|my] GPU?",
            "[Which|What] [flag|option] [puts|moves] layers on the GPU?",
        ),
        "Layers go to the GPU with -ngl, for example: llamahttp -m model.gguf -ngl 99",
        ("-ngl 99",),
    ),
    (
        (
            "How [do|can] I [set|change|choose] the [number of |]threads?",
            "[Which|What] [flag|option] sets the [number of |]threads?",
        ),
        "Set the threads with -t, for example: llamahttp -m model.gguf -t 8",
        ("-t 8",),
    ),
    (
        (
            "[Which|What|What kind of] [models|files|formats|file formats] [can I use|does " + IT + " [run|load|support]]?",
            "[What is|What's] a GGUF[ file|]?",
        ),
        "llamahttp loads models in the GGUF format, as llama.cpp does.",
        ("GGUF",),
    ),
    (
        (
            "How [do|can] I stop [the server|llamahttp|it]?",
            "How [do|can] I [quit|exit|end|shut down] [the server|llamahttp|it|this]?",
        ),
        "Press Ctrl-C in the terminal.",
        ("Ctrl-C",),
    ),
    (
        (
            "How [do|can] I stream [answers|the answer|tokens|the output]?",
            "[Can|Does] " + IT + " [stream|do streaming|support streaming]?",
        ),
        'Send "stream": true in the request.',
        ('"stream": true',),
    ),
    (
        (
            "How [do|can] I use " + IT + " [with|from] [Python|the OpenAI client|the openai package|OpenAI]?",
            "[Which|What] is the base URL[ for the OpenAI client|]?",
        ),
        "Use the OpenAI client with the base URL http://127.0.0.1:8080/v1",
        ("http://127.0.0.1:8080/v1",),
    ),
    (
        (
            "How [do|can] I [check|see|know|test] [whether|if|that] [the server|llamahttp|it] is [ready|running|up|alive]?",
            "[Is there|What is the] health check?",
        ),
        "Ask GET /health; it answers 200 when the server is ready.",
        ("/health",),
    ),
    (
        (
            "[Why are you so|Why are your answers] [bad|dumb|stupid|short|small|simple|wrong]?",
            "[Can you|How can I] get [better|longer|smarter] answers?",
            "[Are you|Why are you] [a demo|so small]?",
        ),
        "I am a very small demo model. Load a real one with llamahttp -m model.gguf",
        ("-m model.gguf",),
    ),
    (
        (
            "[What is|Which is] the license[ of " + IT + "|]?",
            "[Is llamahttp|Are you] [free|open source]?",
        ),
        "llamahttp is free software under the MIT license.",
        ("MIT",),
    ),
    (
        ("[See|Show|Print|List|What are] [all |][the |][flags|options]?", "[Where|How] [do I find|can I see] [help|the flags|the options]?"),
        "Run llamahttp --help to see all flags.",
        ("llamahttp --help",),
    ),
)  # fmt: skip


def product_turn(draw: Draw) -> Turn:
    """A question about llamahttp; held out is the wording."""

    def make() -> tuple[str, str, tuple[str, ...]]:
        wordings, reply, must = draw.pick(QUESTIONS)
        return draw.ask(draw.pick(wordings)), reply, must

    user, reply, must = draw.fresh(make)
    return Turn("llamahttp", user, reply, "This is a question about llamahttp.", "must", must)
