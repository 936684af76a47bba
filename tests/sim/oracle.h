/* What must be true: the messages that clients sent, what they were told, and what became of them.
 * Every message carries its number in the sender's address, at the beginning and at the end of its
 * content, so that the disk can tell when all of it is durable and a next hop what it got. */
#pragma once

#include "core/slice.h"
#include "smtp/deliver.h"

enum {
    MAIL_RCPTS_MAX = 4,
    MAIL_MEMBERS_MAX = 12,
    MAIL_ADDRESS_MAX = 64,
    MAIL_PLACES_MAX = 4,
    MAIL_DELAYS_MAX = 8
};

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
    uint64_t report; /* which one, of a DSN */
    unsigned life;
};

/* Reports of a delay. */
struct notices {
    unsigned steps;       /* of the schedule that may have been behind it when it was tried last */
    unsigned owed;        /* that have to come */
    bool open;            /* one more, unless the process dies before it is durable */
    uint64_t sent_ns;     /* that one's way to the disk began; 0: not yet */
    unsigned taken, lost; /* by the next hop; given up in the queue */
};

struct mail_rcpt {
    char address[MAIL_ADDRESS_MAX];
    bool wanted, refused; /* RCPT was answered 250, 5xx or 4xx; neither: not known */
    unsigned copies;
    struct {
        uint64_t where;
        unsigned count;
    } places[MAIL_PLACES_MAX]; /* mailboxes that have it */
    struct copy last, dsn, success_dsn;
    struct copy delays[MAIL_DELAYS_MAX]; /* the last copy of each report of a delay */
    unsigned rejected;                   /* times a next hop answered 5xx */
    unsigned failed_dsns, delay_dsns, success_dsns;
    struct notices notices;
    unsigned failed_lost, success_lost; /* DSNs that were queued, and were given up there */
    unsigned given_up;                  /* times that it failed, and nobody wanted to be told */
    unsigned offers;                    /* to a next hop, which put it off; the last one: */
    uint64_t offered_ns;
    unsigned offered_life;
    uint8_t notify; /* enum dsn_notify, as the client asks; only where it is named once */
    bool expired;
    bool is_list;  /* its members get the mail */
    bool may_go;   /* the configuration may lose it: then it gets a failure DSN, or another way */
    bool optional; /* a member that the list may lose */
    unsigned member_of; /* a list among the first rcpts; behind them: this one's index */
};

struct mail {
    unsigned id;
    bool null_sender;
    char sender[MAIL_ADDRESS_MAX];
    struct mail_rcpt rcpts[MAIL_RCPTS_MAX + MAIL_MEMBERS_MAX];
    unsigned rcpt_count; /* that the client names */
    unsigned all_count;  /* with the members of lists */
    char client[32];     /* address that the server is to note */
    uint8_t *content;
    size_t len;
    uint64_t made_ns;     /* before it arrived */
    uint64_t accepted_ns; /* after that; 0: not known */
    enum mail_state state;
    unsigned durable; /* bits: sender, beginning, end */
    /* An administrator: what was answered; cancelling that was asked for may have happened. */
    bool held, ended, cancel_asked, report_asked;
};

struct oracle_conf {
    bool wide;                     /* mail also goes to lists and to addresses that come and go */
    uint64_t notify_ns, expire_ns; /* 0: no mail gets that old */
    bool clock_jumps;              /* its age is anybody's guess */
    bool calm;                     /* nothing but the process and its disk ever fails */
};
void oracle_reset(const struct oracle_conf *conf);
/* The NOTIFY parameter that a client gives with this recipient, with a space before it, or "". */
const char *oracle_notify(const struct mail_rcpt *rcpt);
/* Adds the recipients whose mail was late, and too late. */
void oracle_notices(uint64_t *delayed, uint64_t *expired);
/* A new message, of about that many bytes. */
struct mail *oracle_mail(size_t bytes);
struct mail *oracle_find(unsigned id);
unsigned oracle_count(void);

/* The message with this sender, or NULL. */
struct mail *oracle_from(struct slice sender);
/* An administrator asks for this, and got the answer that it is done, durably. */
void oracle_asked(struct mail *mail, enum deliver_change_kind kind);
void oracle_changed(struct mail *mail, enum deliver_change_kind kind);
/* How many times mail was held or cancelled. */
unsigned oracle_changes(void);

/* The disk has made these bytes durable. */
void oracle_durable(struct slice bytes);
/* The client got this answer to the end of data; accepted: 250. */
void oracle_answered(struct mail *mail, bool accepted);
/* A next hop answers 250 (or 5xx) for a recipient. from: its end of the connection; reply_end: see
 * struct copy. */
void oracle_delivered(struct slice sender, struct slice rcpt, struct slice content,
                      const struct sock *from, uint64_t reply_end);
void oracle_rejected(struct slice sender, struct slice rcpt);
/* It is offered this recipient. True: it is to be put off this time, with 4xx. */
bool oracle_offered(struct slice rcpt, const struct sock *from);
/* May it say 5xx: will the oracle know which message that was? */
bool oracle_may_reject(struct slice sender, struct slice rcpt);
/* The client was told whether the server takes its recipient. */
void oracle_rcpt(struct mail *mail, unsigned index, bool good);
/* ... for the whole message, as far as it concerns recipients at that domain ("@..."). */
void oracle_rejected_all(struct slice sender, const char *domain);
/* The process was killed, or gave up its connections at its end. */
void oracle_killed(void);
/* Bytes have rotted: mail may come twice, and with lost may be lost. */
void oracle_rot(bool lost);
bool oracle_rotten(void);
bool oracle_rot_lost(void);
/* Everything has ended: compares what was promised with next hops and mailboxes. */
void oracle_judge(void);
