/* Dialogues with the server session as text files (tests/script/server). Pure test support.
 *
 *   == name            begins a case
 *   set LIMIT VALUE    settings before the session begins (see dialogue.inc)
 *   C: text            the client sends text and CRLF     C*N: text    N times
 *   C+ text            the same without CRLF
 *   TLS                the handshake takes place here; what the client sent before it and the
 *                      server had not read is lost
 *   STOP reason        srv_stop, after everything before has been read
 *   S: text            the server answers text and CRLF   S*N: text    N times
 *   A: KIND REPLY      the next question of that kind gets that reply; all others get OK
 *   Q: question        the questions asked, in order; if there is none, they are not compared
 *   CLOSE reason       the session ends with that reason; without it, it must go on
 *
 * In C and Q: \r \n \t \\ \0 \xHH, and {text*N} for repetition. */
#pragma once

#include "core/slice.h"

enum { DIALOGUE_BYTES_MAX = 1 << 18, DIALOGUE_EVENTS_MAX = 8, DIALOGUE_ANSWERS_MAX = 64 };

/* How the bytes arrive and the answers are given. */
struct dialogue_way {
    size_t first, step; /* bytes of the first and of the other pieces */
    size_t out_cap;
    bool late; /* answers come after the next piece of input, or when there is none */
};

struct dialogue;
/* Reads the next case of a script; NULL at its end. */
struct dialogue *dialogue_read(struct slice *script);
void dialogue_free(struct dialogue *d);
const char *dialogue_name(const struct dialogue *d);
size_t dialogue_input_bytes(const struct dialogue *d);
/* Runs it; NULL when all was as expected, else a text that says what was not (static). */
const char *dialogue_run(const struct dialogue *d, const struct dialogue_way *way);
