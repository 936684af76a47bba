/* What must be true: the messages that clients sent, what they were told, and what became of them.
 * Every message carries its number in the sender's address, at the beginning and at the end of its
 * content, so that the disk can tell when all of it is durable and a next hop what it got. */
#pragma once

#include "core/slice.h"

enum { MAIL_RCPTS_MAX = 4, MAIL_ADDRESS_MAX = 64 };

enum mail_state {
    MAIL_UNSENT,
    MAIL_UNKNOWN, /* the end of data may have been sent; no answer */
    MAIL_ACCEPTED,
    MAIL_REFUSED,
};

struct sock;
struct sock_past;

/* A next hop or a mailbox has it. */
struct copy {
    const struct sock_past *past; /* of the connection that brought it; NULL: mailbox */
    bool orphan;                  /* the program had gone from the connection */
    uint64_t reply_end;           /* the program has read this many bytes = knows the answer */
    uint64_t at_ns;
    unsigned life;
};

struct mail_rcpt {
    char address[MAIL_ADDRESS_MAX];
    bool wanted, refused; /* RCPT was answered 250, 5xx or 4xx; neither: not known */
    unsigned copies;
    unsigned files[2]; /* in mailboxes, by name of the server */
    struct copy last, dsn;
    unsigned rejected; /* times a next hop answered 5xx */
    unsigned failed_dsns, delay_dsns;
};

struct mail {
    unsigned id;
    bool null_sender;
    char sender[MAIL_ADDRESS_MAX];
    struct mail_rcpt rcpts[MAIL_RCPTS_MAX];
    unsigned rcpt_count;
    uint8_t *content;
    size_t len;
    enum mail_state state;
    unsigned durable; /* bits: sender, beginning, end */
};

void oracle_reset(void);
/* A new message, of about that many bytes. */
struct mail *oracle_mail(size_t bytes);
struct mail *oracle_find(unsigned id);
unsigned oracle_count(void);

/* The disk has made these bytes durable. */
void oracle_durable(struct slice bytes);
/* The client got this answer to the end of data; accepted: 250. */
void oracle_answered(struct mail *mail, bool accepted);
/* A next hop answers 250 (or 5xx) for a recipient. from: its end of the connection; reply_end: see
 * struct copy. */
void oracle_delivered(struct slice sender, struct slice rcpt, struct slice content,
                      const struct sock *from, uint64_t reply_end);
void oracle_rejected(struct slice rcpt);
/* ... for the whole message, as far as it concerns recipients at that domain ("@..."). */
void oracle_rejected_all(struct slice sender, const char *domain);
/* The process was killed, or gave up its connections at its end. */
void oracle_killed(void);
void oracle_rot(void);
bool oracle_rotten(void);
/* Everything has ended: compares what was promised with next hops and mailboxes. */
void oracle_judge(void);
