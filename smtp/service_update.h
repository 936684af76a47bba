/* A change of configuration arriving at a core: as messages from the publisher (admin/publish), in
 * two steps, so that what was committed can be applied without fail.
 *
 *   prepare: the core takes the memory and makes what could fail (tables, TLS context, hops,
 *            listeners); nothing is visible yet. Its answer says whether it could.
 *   apply or cancel: apply makes everything visible, domains and addresses in bounded slices, then
 *            the image; its answer means that the next command on this core sees the change, that
 *            nothing is listened on any more that the change left out, and that the core has let
 *            go of the image and the records that were replaced.
 *
 * One change at a time. */
#pragma once

#include "io/mbox.h"
#include "route/directory.h"
#include "route/image.h"

struct service;

enum {
    UPDATE_RECORDS_PER_SLICE = 1024,
    UPDATE_SLOTS_PER_SLICE = 4096, /* of tables that have grown */
};

enum dir_change_kind { DIR_PUT_DOMAIN, DIR_REMOVE_DOMAIN, DIR_PUT_ADDRESS, DIR_REMOVE_ADDRESS };

/* Of a removal only the key counts: a domain's name, an address's domain and local part. */
struct dir_change {
    enum dir_change_kind kind;
    union {
        const struct dir_domain *domain;
        const struct dir_record *address;
    };
};

/* The same for all cores, which only read it. */
struct service_change {
    uint64_t generation;
    const struct image *image; /* NULL: as before */
    bool new_certificate;
    struct slice cert_pem, key_pem;
    const struct dir_change *records;
    size_t record_count;
    size_t domains_put, addresses_put; /* room that the tables need at most */
    /* One per record: what was there before, or NULL. Written by core 0 alone, so that the
     * publisher can free it when all cores have applied the change. */
    const void **replaced;
};

enum update_step { UPDATE_PREPARE, UPDATE_APPLY, UPDATE_CANCEL };

/* One core's part. Belongs to the core from mbox_send of msg until the reply arrives. */
struct service_update {
    struct mbox_msg msg; /* receive = service_update_receive */
    enum update_step step;
    const struct service_change *change;
    const int *listen_fds; /* see listeners_prepare; needed with an image */
    unsigned reply_to;     /* thread of the publisher */
    struct mbox_msg reply; /* receive is the publisher's */
    mx_err err;            /* of a prepare */
    size_t applied;        /* records, private to the core */
    bool switched;         /* all is visible, sockets are being closed; private to the core */
};

void service_update_receive(struct mbox_msg *msg, struct shard *at);
/* A retired listener of this core has closed its socket. */
void service_update_listener_closed(struct service *service);
/* Ends what is under way when the service closes. */
void service_update_close(struct service *service);
