/* The server side of SMTP and LMTP for a sink: takes everything that is well-formed enough, and
 * misbehaves as a fault plan says. Pure. It shares no code with the server under test (smtp/), so
 * that an error of its encoder or decoder is not mirrored here.
 *
 * Legal paths: banner -> EHLO/HELO/LHLO -> { MAIL -> RCPT+ -> (DATA | BDAT+) -> end }* -> QUIT. The
 * end of a message yields SINK_END, one SINK_RESULT for each recipient, SINK_DONE. */
#pragma once

#include "bench/fault.h"

#include "core/cursor.h"

struct sink_engine_conf {
    struct slice hostname;
    bool lmtp, offer_pipelining, offer_chunking, offer_dsn;
    uint64_t size_bytes_max;
    struct fault_plan *faults;
};

enum sink_act {
    SINK_INPUT,     /* wants more bytes */
    SINK_FLUSH,     /* out has too little room: send, then call again */
    SINK_DELAY,     /* call again after engine->delay_ms */
    SINK_SENDER,    /* MAIL was taken: engine->text; a message begins */
    SINK_RECIPIENT, /* RCPT was taken: engine->text */
    SINK_CONTENT,   /* decoded content: engine->text */
    SINK_END,       /* the content is complete */
    SINK_RESULT,    /* recipient number engine->result: engine->taken, engine->answered */
    SINK_DONE,      /* the replies to the message are in out, or will never be */
    SINK_FORGET,    /* the message is dropped */
    SINK_CLOSE,     /* send out, close */
};

enum { SINK_OUT_MIN = 1024, SINK_LINE_MAX = 8000, SINK_RCPTS_MAX = 10000 };

struct sink_engine {
    const struct sink_engine_conf *conf;
    struct slice text; /* of the last act; borrowed from the input or static */
    uint32_t delay_ms;
    uint32_t result; /* of SINK_RESULT */
    bool taken;
    bool answered;    /* ... and the reply leaves */
    uint32_t rcpt_at; /* the recipient whose result comes next */
    /* private */
    uint8_t state, line_state;
    bool drawn, greeted, has_sender, chunked, chunk_last;
    bool cut;           /* no reply to the rest of the recipients */
    uint16_t skip_code; /* what the chunk that is thrown away, or the large message, will get */
    uint32_t rcpts;
    uint64_t chunk_left, bytes;
    struct fault fault;
};

void sink_engine_init(struct sink_engine *engine, const struct sink_engine_conf *conf);
/* One act; *in is advanced over what was used. out has room for SINK_OUT_MIN bytes, or SINK_FLUSH
 * comes. who: for faults at the end of a message that name recipients; under LMTP the text of
 * recipient number engine->rcpt_at, else of all. */
enum sink_act sink_engine_next(struct sink_engine *engine, struct slice *in, struct writer *out,
                               struct slice who);
