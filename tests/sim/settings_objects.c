/* The stored objects of a version: what stands in the place of admin/store, config_build and
 * tls_files for the publisher. */
#include "admin/config_build.h"
#include "admin/object_id.h"
#include "admin/store.h"
#include "admin/tls_files.h"
#include "core/check.h"
#include "tests/sim/settings_inside.h"
#include "tests/sim/sim.h"

#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

/* --- objects in normal form --------------------------------------------------------------------
 */

static json_t *id_json(uint64_t id)
{
    char text[OBJECT_ID_TEXT_MAX];
    struct writer w = writer_init(text, sizeof text);
    put_object_id(&w, id);
    return json_stringn(text, w.len);
}

static json_t *domain_json(const struct settings *s, uint64_t id)
{
    json_t *aliases = json_object();
    if (id == 5 && s->domain_alias) {
        (void)json_object_set_new(aliases, "also.example", json_true());
    }
    return json_pack("{s:s, s:o, s:b, s:b, s:s, s:{s:s}}", "name", sim_domain_name(s, id),
                     "aliases", aliases, "isEnabled", 1, "allowRelaying",
                     id == 5 ? s->relay : id > 1, "verifyRecipients",
                     dir_verify_name(settings_verification()), "subAddressing", "@type", "Enabled");
}

static json_t *account_json(const struct settings *s, const struct sim_account *account)
{
    json_t *aliases = json_object();
    if (sim_account_has_alias(s, account)) {
        json_t *alias =
            json_pack("{s:s, s:o, s:b}", "name", "alias", "domainId", id_json(1), "enabled", 1);
        (void)json_object_set_new(aliases, "0", alias);
    }
    return json_pack("{s:s, s:s, s:o, s:o}", "@type", "User", "name", account->name, "domainId",
                     id_json(account->domain), "aliases", aliases);
}

static json_t *members_json(const struct settings *s, const struct sim_list *list)
{
    const char *members[SIM_MEMBERS_MAX];
    unsigned count = sim_list_members(members, s, list);
    json_t *recipients = json_object();
    for (unsigned i = 0; i < count; i++) {
        (void)json_object_set_new(recipients, members[i], json_true());
    }
    return recipients;
}

static json_t *list_json(const struct settings *s, const struct sim_list *list)
{
    return json_pack("{s:s, s:o, s:o, s:{}}", "name", list->name, "domainId", id_json(1),
                     "recipients", members_json(s, list), "aliases");
}

/* --- a change ----------------------------------------------------------------------------------
 */

static const struct reg_type *type_of(const char *name)
{
    const struct reg_type *type = reg_type_find(slice_of_text(name));
    MX_ASSERT(type != NULL);
    return type;
}

/* Takes both references. */
static void note(struct object_change *out, size_t *count, const char *type, uint64_t id,
                 json_t *before, json_t *after)
{
    if (before == after || (before != NULL && after != NULL && json_equal(before, after))) {
        json_decref(before);
        json_decref(after);
        return;
    }
    MX_ASSERT(*count < SETTINGS_CHANGES_MAX);
    out[(*count)++] = (struct object_change){type_of(type), id, before, after};
}

/* Of types that only the image knows, which is made from the whole. */
static void note_image(struct object_change *out, size_t *count, const char *type, bool differs)
{
    if (differs) {
        note(out, count, type, OBJECT_ID_SINGLETON, json_object(),
             json_pack("{s:b}", "changed", 1));
    }
}

size_t settings_changes(struct object_change out[SETTINGS_CHANGES_MAX], const struct settings *a,
                        const struct settings *b)
{
    size_t count = 0;
    note_image(out, &count, "SystemSettings", a->other_name != b->other_name);
    note_image(out, &count, "NetworkListener", a->second_listener != b->second_listener);
    note_image(out, &count, "BlockedIp", a->blocked != b->blocked);
    note_image(out, &count, "Certificate", a->certificate != b->certificate);
    note_image(out, &count, "MtaRoute",
               a->source_moved != b->source_moved || a->lmtp_moved != b->lmtp_moved ||
                   a->spare_route != b->spare_route);
    note_image(out, &count, "MtaDeliverySchedule", a->slow != b->slow);
    note(out, &count, "Domain", 5, a->domain ? domain_json(a, 5) : NULL,
         b->domain ? domain_json(b, 5) : NULL);
    for (unsigned i = 0; i < SIM_ACCOUNTS; i++) {
        const struct sim_account *account = &sim_accounts[i];
        note(out, &count, "Account", account->id,
             sim_account_exists(a, account) ? account_json(a, account) : NULL,
             sim_account_exists(b, account) ? account_json(b, account) : NULL);
    }
    for (unsigned i = 0; i < SIM_LISTS; i++) {
        note(out, &count, "MailingList", sim_lists[i].id, list_json(a, &sim_lists[i]),
             list_json(b, &sim_lists[i]));
    }
    return count;
}

void settings_changes_free(struct object_change *changes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        json_decref((json_t *)(uintptr_t)changes[i].before);
        json_decref((json_t *)(uintptr_t)changes[i].after);
    }
}

/* --- admin/store.h -----------------------------------------------------------------------------
 */

mx_err store_get(struct store *store, json_t **out_object, const struct reg_type *type, uint64_t id)
{
    MX_ASSERT(type == type_of("Domain"));
    *out_object = domain_json(&store->now, id);
    return *out_object == NULL ? MX_ERR_NOMEM : MX_OK;
}

static mx_err each_row(const struct settings *s, const struct sim_account *account,
                       store_address_fn each, void *arg)
{
    struct store_address_row row = {.domain = account->domain,
                                    .local = slice_of_text(account->name),
                                    .account = account->id,
                                    .enabled = true,
                                    .kind = STORE_USER,
                                    .account_local = slice_of_text(account->name),
                                    .account_domain =
                                        slice_of_text(sim_domain_name(s, account->domain))};
    mx_err err = each(arg, &row);
    if (!err && sim_account_has_alias(s, account)) {
        row.domain = 1;
        row.local = SLICE_LITERAL("alias");
        row.is_alias = true;
        err = each(arg, &row);
    }
    return err;
}

mx_err store_each_address(struct store *store, store_address_fn each, void *arg)
{
    const struct settings *s = &store->now;
    mx_err err = MX_OK;
    for (unsigned i = 0; !err && i < SIM_ACCOUNTS; i++) {
        if (sim_account_exists(s, &sim_accounts[i])) {
            err = each_row(s, &sim_accounts[i], each, arg);
        }
    }
    for (unsigned i = 0; !err && i < SIM_LISTS; i++) {
        json_t *members = members_json(s, &sim_lists[i]);
        struct store_address_row row = {.domain = 1,
                                        .local = slice_of_text(sim_lists[i].name),
                                        .account = sim_lists[i].id,
                                        .enabled = true,
                                        .kind = STORE_LIST,
                                        .account_local = slice_of_text(sim_lists[i].name),
                                        .account_domain = SLICE_LITERAL("local.example"),
                                        .members = members};
        err = each(arg, &row);
        json_decref(members);
    }
    return err;
}

const char *store_problem(const struct store *store)
{
    (void)store;
    return "simulated";
}

uint64_t store_generation(const struct store *store)
{
    return store->now.generation;
}

/* --- admin/config.h, config_build.h, tls_files.h -----------------------------------------------
 */

mx_err config_build(struct config **out_config, struct store *store, enum config_parts parts,
                    const struct reg_type **out_type, struct config_problem *problem)
{
    (void)out_type;
    if (sim.faults && sim_chance(20)) {
        config_problem_set(problem, "it does not compile");
        return MX_ERR_INVALID;
    }
    *out_config = settings_config(&store->now, parts == CONFIG_WHOLE);
    return *out_config == NULL ? MX_ERR_NOMEM : MX_OK;
}

mx_err tls_files_load(struct tls_files *files, const struct image *image, const char *dir,
                      int64_t wall_ms, const char **out_problem)
{
    (void)dir;
    (void)wall_ms;
    *files = (struct tls_files){0};
    if (sim.faults && sim_chance(20)) {
        *out_problem = "it cannot be read";
        return MX_ERR_IO;
    }
    files->cert_pem = image->certificate->cert_pem;
    files->key_pem = image->certificate->key_pem;
    return MX_OK;
}

void tls_files_free(struct tls_files *files)
{
    free(files->cert_owned);
    free(files->key_owned);
    *files = (struct tls_files){0};
}
