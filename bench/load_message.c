#include "bench/load_session.h"

#include "core/check.h"

/* --- beginning ---------------------------------------------------------------------------------
 */

static void make_id(struct load_session *s)
{
    struct transfer *t = s->transfer;
    struct writer w = writer_init(t->id, sizeof t->id);
    put_slice(&w, s->load->conf.ids);
    put_char(&w, '.');
    put_decimal(&w, s->number);
    put_char(&w, '.');
    put_decimal(&w, s->sent);
    MX_ASSERT(!w.overflow);
    t->id_len = w.len;
}

static void make_content(struct load_session *s)
{
    struct load *load = s->load;
    struct transfer *t = s->transfer;
    struct slice id = slice_of(t->id, t->id_len);
    const struct folder *folder = &load->conf.folder;
    bool dotted = !load_engine_chunked(&s->engine);
    if (folder->count > 0) {
        const struct folder_message *m = &folder->messages[dice_below(&load->dice, folder->count)];
        content_of_message(&t->content, m->bytes, m->hash, m->has_8bit, id);
        if (dotted) {
            content_dot_message(&t->content, m->dotted);
        }
    } else {
        content_head_make(&load->head, load->conf.from, load->shard.wall_ms);
        content_make(&t->content, &load->text, &load->head, &load->dice, id,
                     distribution_draw(&load->conf.size, &load->dice), dotted);
    }
}

void message_begin(struct load_session *s, uint64_t now_ns)
{
    struct load *load = s->load;
    struct load_conf *conf = &load->conf;
    struct transfer *t = s->transfer;
    uint32_t count = conf->rcpts.count;
    load->stats.counts.begun += !s->has_arrival; /* else it began with the arrival */
    load->in_flight++;
    s->sent++;
    make_id(s);
    if (!conf->all_rcpts) {
        uint64_t drawn = distribution_draw(&conf->rcpts_per_message, &load->dice);
        count = (uint32_t)mx_min_size(drawn, count);
    }
    recipients_draw(&conf->rcpts, &load->dice, t->rcpts, count);
    make_content(s);
    t->open = true;
    t->began_ns = s->has_arrival ? s->intended_ns : now_ns;
    s->has_arrival = false;
    s->began_ns = now_ns;
    t->msg = (struct load_message){.sender = conf->from,
                                   .rcpts = t->rcpts,
                                   .rcpt_count = count,
                                   .content_bytes = t->content.total,
                                   .dotted_bytes = t->content.wire,
                                   .has_8bit = t->content.has_8bit,
                                   .last = s->sent >= s->quota};
    load_engine_begin(&s->engine, &t->msg, t->codes);
}

/* --- the end -----------------------------------------------------------------------------------
 */

/* The reply that decides about a recipient; 0: the connection was lost before it came. */
static uint16_t decisive_code(const struct load_session *s, uint32_t i)
{
    uint16_t code = s->transfer->codes[i];
    return code / 100 == 2 ? s->engine.final_code : code;
}

static enum ledger_kind kind_of(const struct load_session *s, uint32_t i)
{
    uint16_t code = decisive_code(s, i);
    bool too_many = s->transfer->codes[i] == 552; /* RFC 5321 section 4.5.3.1.10: means 452 */
    return code / 100 == 2                ? LEDGER_ACKED
           : code / 100 == 5 && !too_many ? LEDGER_REFUSED
                                          : LEDGER_UNSURE;
}

static void note(struct load_session *s, uint32_t i, uint64_t now_ns)
{
    const struct load_rcpt *rcpt = &s->transfer->rcpts[i];
    const struct transfer *t = s->transfer;
    uint8_t address[512];
    struct writer w = writer_init(address, sizeof address);
    if (s->load->ledger.fd_plus_one == 0) {
        return;
    }
    put_slice(&w, rcpt->head);
    put_slice(&w, rcpt->tail);
    struct ledger_entry entry = {.kind = kind_of(s, i),
                                 .time_us = now_ns / 1000,
                                 .since_us = s->since_us,
                                 .id = slice_of(t->id, t->id_len),
                                 .rcpt = writer_slice(&w),
                                 .hash = t->content.hash,
                                 .bytes = t->content.total};
    ledger_add(&s->load->ledger, &entry);
}

/* What all known recipients of a message came to. */
struct verdict {
    bool known, all, answered, unknown_taken;
};

static struct verdict judge(struct load_session *s)
{
    struct load_stats *stats = &s->load->stats;
    const struct transfer *t = s->transfer;
    struct verdict v = {.all = true, .answered = true};
    for (uint32_t i = 0; i < t->msg.rcpt_count; i++) {
        uint16_t code = decisive_code(s, i);
        bool unknown = t->rcpts[i].tail.len > 0;
        v.answered = v.answered && code != 0;
        stats->counts.unknown_refused += unknown && t->codes[i] / 100 == 5;
        stats->counts.unknown_taken += unknown && t->codes[i] / 100 == 2;
        v.unknown_taken = v.unknown_taken || (unknown && t->codes[i] / 100 == 2);
        v.known = v.known || !unknown;
        if (!unknown || t->codes[i] / 100 == 2) {
            v.all = v.all && code / 100 == 2;
        }
        if (stats->refusal_code == 0 && code != 0 && code / 100 != 2 && !unknown) {
            stats->refusal_code = code;
        }
    }
    return v;
}

void message_end(struct load_session *s, uint64_t now_ns)
{
    struct load *load = s->load;
    struct load_counts *counts = &load->stats.counts;
    struct transfer *t = s->transfer;
    struct verdict v = judge(s);
    bool away = !v.known && v.answered && !v.unknown_taken;
    bool accepted = v.answered && v.all && !away;
    t->open = false;
    load->in_flight--;
    load->last_done_ns = now_ns;
    for (uint32_t i = 0; i < t->msg.rcpt_count; i++) {
        note(s, i, now_ns);
    }
    counts->turned_away += away;
    counts->accepted += accepted;
    counts->unanswered += !v.answered;
    counts->refused += v.answered && !accepted && !away;
    if (accepted) {
        counts->bytes += t->content.total;
    }
    if (accepted || away) {
        load_stats_message(&load->stats, now_ns - mx_min_size(now_ns, t->began_ns));
    }
}
