"""What llama-server's HTTP API has, by name: the list that `docs/coverage.md` is counted against.

Names are those of llama.cpp's tools/server (server.cpp for routes, server-schema.cpp and server-common.cpp for
parameters) at the version that `build_lib.sh` pins.
"""

from __future__ import annotations

ROUTES = """
GET /health                             GET /v1/health
GET /metrics                            GET /props
POST /props                             GET /models
GET /v1/models                          POST /completion
POST /completions                       POST /v1/completions
POST /chat/completions                  POST /v1/chat/completions
POST /v1/chat/completions/control       POST /v1/responses
POST /responses                         POST /v1/audio/transcriptions
POST /audio/transcriptions              POST /v1/messages
POST /infill                            POST /embedding
POST /embeddings                        POST /v1/embeddings
POST /rerank                            POST /reranking
POST /v1/rerank                         POST /v1/reranking
POST /tokenize                          POST /detokenize
POST /apply-template                    POST /chat/completions/input_tokens
POST /v1/chat/completions/input_tokens  POST /responses/input_tokens
POST /v1/responses/input_tokens         POST /v1/messages/count_tokens
GET /lora-adapters                      POST /lora-adapters
GET /slots                              POST /slots/{id_slot}
GET /v1/stream                          POST /v1/streams/lookup
DELETE /v1/stream                       GET /cors-proxy
POST /cors-proxy                        GET /tools
POST /tools                             POST /models
POST /models/load                       POST /models/unload
GET /models/sse                         DELETE /models
POST $AIP_PREDICT_ROUTE
"""

COMPLETION = """
prompt id_slot stream stream_options n_predict max_completion_tokens max_tokens n_cmpl n stop cache_prompt n_cache_reuse
n_keep n_discard n_indent t_max_predict_ms response_fields return_tokens return_progress timings_per_token verbose
sse_ping_interval echo seed temperature dynatemp_range dynatemp_exponent top_k top_p min_p xtc_probability xtc_threshold
top_n_sigma typical_p repeat_last_n repeat_penalty frequency_penalty presence_penalty dry_multiplier dry_base
dry_allowed_length dry_penalty_last_n dry_sequence_breakers mirostat mirostat_tau mirostat_eta adaptive_target
adaptive_decay min_keep n_probs logprobs post_sampling_probs backend_sampling samplers logit_bias ignore_eos lora
grammar json_schema grammar_lazy grammar_triggers grammar_type preserved_tokens chat_format chat_parser
generation_prompt parse_tool_calls reasoning_format continue_final_message reasoning_control reasoning_budget_tokens
reasoning_budget_start_tag reasoning_budget_end_tags reasoning_budget_end_tag reasoning_budget_message
message_delimiters model
"""

PARAMETERS = {
    "/completion": COMPLETION,
    "/v1/chat/completions": """
messages tools tool_choice parallel_tool_calls response_format logprobs top_logprobs chat_template_kwargs
reasoning_effort reasoning_format thinking_budget_tokens add_generation_prompt continue_final_message
reasoning_budget_message reasoning_control
""",
    "/v1/messages": """
model messages system tools tool_choice stop_sequences max_tokens temperature top_p top_k stream chat_template_kwargs
thinking metadata
""",
    "/infill": "input_prefix input_suffix input_extra prompt",
    "/v1/embeddings": "input content encoding_format embd_normalize model",
    "/v1/rerank": "query documents texts top_n return_text model",
    "/tokenize": "content add_special parse_special with_pieces",
    "/detokenize": "tokens",
    "/lora-adapters": "id scale",
    "/slots/{id_slot}": "filename action",
    "/v1/chat/completions/control": "id action",
    "/v1/streams/lookup": "conversation_ids",
}
"""Members of bodies, and parameters of queries, by a route that has them. What chats share with completions is counted
once."""

BY_ENVIRONMENT = {"POST $AIP_PREDICT_ROUTE": "Vertex AI's, where the environment says AIP_MODE=PREDICTION"}
"""Routes that are there where something asks for them."""

INTERNAL = "llama-server's own, from its chats to its engine; not taken from clients"
REASONS = {
    "grammar_type": INTERNAL,
    "chat_format": INTERNAL,
    "chat_parser": INTERNAL,
    "parse_tool_calls": INTERNAL,
    "message_delimiters": INTERNAL,
    "/completion continue_final_message": "of chats, where it is effective",
}
"""Why something is not there."""
