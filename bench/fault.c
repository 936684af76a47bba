#include "bench/fault.h"

#include "core/text.h"

static const struct slice commands[FAULT_COMMANDS] = {
    [FAULT_CONNECT] = SLICE_LITERAL("connect"), [FAULT_BANNER] = SLICE_LITERAL("banner"),
    [FAULT_EHLO] = SLICE_LITERAL("ehlo"),       [FAULT_MAIL] = SLICE_LITERAL("mail"),
    [FAULT_RCPT] = SLICE_LITERAL("rcpt"),       [FAULT_DATA] = SLICE_LITERAL("data"),
    [FAULT_EOD] = SLICE_LITERAL("eod"),         [FAULT_QUIT] = SLICE_LITERAL("quit"),
};

static const struct {
    struct slice word;
    enum fault_kind kind;
    uint16_t code;
} kinds[] = {
    {SLICE_LITERAL("drop"), FAULT_DROP, 0},   {SLICE_LITERAL("silent"), FAULT_MUTE, 0},
    {SLICE_LITERAL("lost"), FAULT_LOST, 0},   {SLICE_LITERAL("4xx"), FAULT_REPLY, 451},
    {SLICE_LITERAL("5xx"), FAULT_REPLY, 550},
};

static struct slice take_part(struct slice *rest)
{
    size_t end = slice_find(*rest, ':');
    struct slice part = slice_first(*rest, end);
    *rest = slice_from(*rest, end < rest->len ? end + 1 : end);
    return part;
}

static mx_err parse_command(struct fault_rule *rule, struct slice word)
{
    for (unsigned i = 0; i < FAULT_COMMANDS; i++) {
        if (slice_equal(word, commands[i])) {
            rule->command = (enum fault_command)i;
            return MX_OK;
        }
    }
    return MX_ERR_SYNTAX;
}

static mx_err parse_kind(struct fault_rule *rule, struct slice word)
{
    const struct slice delay = SLICE_LITERAL("delay=");
    uint64_t number;
    for (size_t i = 0; i < mx_countof(kinds); i++) {
        if (slice_equal(word, kinds[i].word)) {
            rule->kind = kinds[i].kind;
            rule->code = kinds[i].code;
            return MX_OK;
        }
    }
    if (text_starts_nocase(word, delay)) {
        rule->kind = FAULT_DELAY;
        if (text_to_u64(&number, slice_from(word, delay.len)) != MX_OK ||
            number > FAULT_DELAY_MS_MAX) {
            return MX_ERR_RANGE;
        }
        rule->delay_ms = (uint32_t)number;
        return MX_OK;
    }
    rule->kind = FAULT_REPLY;
    if (text_to_u64(&number, word) != MX_OK) {
        return MX_ERR_SYNTAX;
    }
    rule->code = (uint16_t)number;
    return number >= 400 && number <= 599 ? MX_OK : MX_ERR_RANGE;
}

/* "5%", "0.25%": at most four digits behind the point. */
static mx_err parse_share(struct fault_rule *rule, struct slice word)
{
    uint64_t whole = 0, parts = 0;
    if (word.len < 2 || word.ptr[word.len - 1] != '%') {
        return MX_ERR_SYNTAX;
    }
    word.len--;
    size_t point = slice_find(word, '.');
    struct slice digits = slice_from(word, point < word.len ? point + 1 : point);
    if (text_to_u64(&whole, slice_first(word, point)) != MX_OK || digits.len > 4 ||
        (digits.len > 0 && text_to_u64(&parts, digits) != MX_OK)) {
        return MX_ERR_SYNTAX;
    }
    for (size_t i = digits.len; i < 4; i++) {
        parts *= 10;
    }
    if (whole > 100) {
        return MX_ERR_RANGE;
    }
    rule->share = (uint32_t)(whole * (FAULT_SHARE_ALL / 100) + parts);
    return rule->share <= FAULT_SHARE_ALL ? MX_OK : MX_ERR_RANGE;
}

/* Without a reply there is nothing to refuse with, and only a message can be taken. */
static bool makes_sense(const struct fault_rule *rule)
{
    bool refuses_connect = rule->command == FAULT_CONNECT && rule->kind == FAULT_REPLY;
    return !refuses_connect && (rule->kind != FAULT_LOST || rule->command == FAULT_EOD);
}

mx_err fault_add(struct fault_plan *plan, struct slice text)
{
    struct fault_rule rule = {.share = FAULT_SHARE_ALL};
    struct slice rest = text;
    if (plan->count == FAULT_RULES_MAX) {
        return MX_ERR_LIMIT;
    }
    mx_err err = parse_command(&rule, take_part(&rest));
    if (!err) {
        err = parse_kind(&rule, take_part(&rest));
    }
    if (!err && rest.len > 0) {
        err = parse_share(&rule, take_part(&rest));
    }
    if (err) {
        return err;
    }
    if (!makes_sense(&rule)) {
        return MX_ERR_RANGE;
    }
    rule.text = rest;
    rule.spec = text;
    plan->rules[plan->count++] = rule;
    return MX_OK;
}

static bool contains(struct slice text, struct slice part)
{
    for (size_t at = 0; at + part.len <= text.len; at++) {
        if (slice_equal(slice_first(slice_from(text, at), part.len), part)) {
            return true;
        }
    }
    return part.len == 0;
}

struct fault fault_draw(struct fault_plan *plan, enum fault_command command, struct slice text)
{
    struct fault fault = {.kind = FAULT_NONE};
    for (uint32_t i = 0; i < plan->count && fault.kind == FAULT_NONE; i++) {
        struct fault_rule *rule = &plan->rules[i];
        if (rule->command != command || !contains(text, rule->text) ||
            dice_below(&plan->dice, FAULT_SHARE_ALL) >= rule->share) {
            continue;
        }
        rule->hits++;
        if (rule->kind == FAULT_DELAY) {
            fault.delay_ms = rule->delay_ms;
        } else {
            fault.kind = rule->kind;
            fault.code = rule->code;
        }
    }
    return fault;
}
