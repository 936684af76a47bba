#include "smtp/trace_search.h"

#include "core/check.h"

/* --- what is meant -----------------------------------------------------------------------------
 */

static size_t id_slot(const struct trace_subjects *subjects, struct qid id)
{
    size_t at = qid_hash(id) % TRACE_SUBJECT_SLOTS;
    while (!qid_none(subjects->ids[at]) && !qid_equal(subjects->ids[at], id)) {
        at = (at + 1) % TRACE_SUBJECT_SLOTS;
    }
    return at;
}

static size_t session_slot(const struct trace_subjects *subjects, uint64_t session)
{
    size_t at = session % TRACE_SUBJECT_SLOTS; /* numbers of one core follow each other */
    while (subjects->sessions[at] != 0 && subjects->sessions[at] != session) {
        at = (at + 1) % TRACE_SUBJECT_SLOTS;
    }
    return at;
}

static bool has_id(const struct trace_subjects *subjects, struct qid id)
{
    return !qid_none(id) && !qid_none(subjects->ids[id_slot(subjects, id)]);
}

static bool has_session(const struct trace_subjects *subjects, uint64_t session)
{
    return session != 0 && subjects->sessions[session_slot(subjects, session)] != 0;
}

/* False: there are too many already. */
static bool add_id(struct trace_subjects *subjects, struct qid id)
{
    if (qid_none(id) || has_id(subjects, id)) {
        return true;
    }
    if (subjects->id_count == TRACE_SUBJECTS_MAX) {
        return false;
    }
    subjects->ids[id_slot(subjects, id)] = id;
    subjects->id_count++;
    return true;
}

static bool add_session(struct trace_subjects *subjects, uint64_t session)
{
    if (session == 0 || has_session(subjects, session)) {
        return true;
    }
    if (subjects->session_count == TRACE_SUBJECTS_MAX) {
        return false;
    }
    subjects->sessions[session_slot(subjects, session)] = session;
    subjects->session_count++;
    return true;
}

static bool is_meant(const struct trace_query *query, const struct trace_record *record)
{
    static const char *const keys[] = {"from", "to", "address", "list"};
    const struct log_subject *subject = &record->subject;
    if (!qid_none(query->id)) {
        return qid_equal(subject->id, query->id) || qid_equal(subject->of, query->id);
    }
    if (query->address.len > 0) {
        return trace_has_text(record, keys, mx_countof(keys), query->address);
    }
    return netmask_contains(&query->client, &subject->client);
}

/* --- passes ------------------------------------------------------------------------------------
 */

static void note_subject(struct trace_search *search, const struct trace_record *record)
{
    struct trace_subjects *subjects = &search->subjects;
    const struct log_subject *subject = &record->subject;
    /* A message's session is known from the record of its arrival. */
    bool meant = is_meant(search->query, record) || has_id(subjects, subject->id);
    if (!meant) {
        return;
    }
    bool id = add_id(subjects, subject->id);
    bool session = add_session(subjects, subject->session);
    search->more = search->more || !id || !session;
}

/* A report, or mail to a list's members: it came later than what it came of, so who looks at the
 * newest first needs a pass for each generation. */
static void note_offspring(struct trace_search *search, const struct trace_record *record)
{
    const struct log_subject *subject = &record->subject;
    if (has_id(&search->subjects, subject->of)) {
        bool id = add_id(&search->subjects, subject->id);
        search->more = search->more || !id;
    }
}

static void take_if_told(struct trace_search *search, const struct trace_record *record)
{
    const struct trace_subjects *subjects = &search->subjects;
    const struct log_subject *subject = &record->subject;
    bool of_session = qid_none(subject->id) &&
                      (has_session(subjects, subject->session) || is_meant(search->query, record));
    if (!of_session && !has_id(subjects, subject->id) && !has_id(subjects, subject->of)) {
        return;
    }
    if (search->count == TRACE_FOUND_MAX) {
        search->more = true;
        return;
    }
    search->count++;
    search->found[TRACE_FOUND_MAX - search->count] = *record;
}

static const struct {
    bool sessions; /* the ring */
    void (*look)(struct trace_search *search, const struct trace_record *record);
} passes[] = {
    {false, note_subject},   {true, note_subject}, {false, note_offspring}, /* mail to members */
    {false, note_offspring}, /* reports, also about that */
    {false, take_if_told},   {true, take_if_told},
};

static void note_oldest(struct trace_search *search, const struct trace_ring *ring)
{
    uint64_t oldest = trace_oldest(ring);
    search->oldest_ms = oldest < ring->next ? trace_get(ring, oldest)->wall_ms : 0;
}

bool trace_search_piece(struct trace_search *search, const struct trace *trace)
{
    unsigned left = TRACE_LOOKS_MAX;
    while (search->pass < mx_countof(passes)) {
        bool sessions = passes[search->pass].sessions;
        const struct trace_ring *ring = sessions ? &trace->sessions : &trace->messages;
        if (!search->passing) {
            search->passing = true;
            search->at = ring->next;
        }
        for (; search->at > trace_oldest(ring); search->at--, left--) {
            if (left == 0) {
                return false;
            }
            passes[search->pass].look(search, trace_get(ring, search->at - 1));
        }
        search->passing = false;
        search->pass++;
    }
    note_oldest(search, &trace->messages);
    return true;
}
