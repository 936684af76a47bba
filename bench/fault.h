/* Misbehaviour on order: which command, what, how often. Pure; a seed decides the draws.
 *
 *   COMMAND:KIND[:SHARE[:TEXT]]     for example rcpt:4xx:5%   eod:lost:0.5%   rcpt:550:100%:bob@
 *
 * COMMAND  connect banner ehlo mail rcpt data eod quit; eod is the end of the data (under LMTP once
 *          for each recipient); data is DATA or the first BDAT of a message; ehlo also HELO, LHLO
 * KIND     4xx 5xx or any code from 400 to 599; 421 ends the session
 *          delay=MS  the reply comes so much later (steps of 100 ms)
 *          drop      the connection is closed instead of a reply; nothing was taken
 *          silent    from here on no reply, and the connection stays open; nothing was taken
 *          lost      only eod: the message is taken, the connection closed before the reply
 * SHARE    of those commands, in percent: 5% or 0.25%; 100% if left out
 * TEXT     only commands that contain it (eod: recipients)
 *
 * Of the rules for a command, the first that hits counts; a delay goes together with another. */
#pragma once

#include "bench/dice.h"

#include "core/cursor.h"
#include "core/err.h"

enum fault_command {
    FAULT_CONNECT,
    FAULT_BANNER,
    FAULT_EHLO,
    FAULT_MAIL,
    FAULT_RCPT,
    FAULT_DATA,
    FAULT_EOD,
    FAULT_QUIT,
    FAULT_COMMANDS
};

enum fault_kind { FAULT_NONE, FAULT_REPLY, FAULT_DROP, FAULT_MUTE, FAULT_LOST, FAULT_DELAY };

enum { FAULT_RULES_MAX = 64, FAULT_DELAY_MS_MAX = 3600 * 1000 };

struct fault {
    enum fault_kind kind; /* never FAULT_DELAY */
    uint16_t code;        /* of FAULT_REPLY */
    uint32_t delay_ms;    /* before it, 0 = none */
};

struct fault_rule {
    enum fault_command command;
    enum fault_kind kind;
    uint16_t code;
    uint32_t delay_ms;
    uint32_t share; /* in FAULT_SHARE_ALL parts */
    struct slice text;
    struct slice spec; /* the rule as given */
    uint64_t hits;
};

enum { FAULT_SHARE_ALL = 1000000 };

struct fault_plan {
    struct dice dice;
    uint32_t count;
    struct fault_rule rules[FAULT_RULES_MAX];
};

/* Adds a rule; text is borrowed for the life of the plan. MX_ERR_SYNTAX, MX_ERR_RANGE (a fault that
 * this command cannot have, a share over 100%), MX_ERR_LIMIT. */
MX_MUST_CHECK mx_err fault_add(struct fault_plan *plan, struct slice text);
/* What is to happen now. text: the command's line or the recipient. */
struct fault fault_draw(struct fault_plan *plan, enum fault_command command, struct slice text);
