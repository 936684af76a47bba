/* Of what the publisher and the cores use, that which does nothing in check_publish.c. */
#include "publish_world.h"

#include "admin/config_build.h"
#include "admin/tls_files.h"
#include "admin/web.h"
#include "io/tls.h"
#include "smtp/srv_conn.h"

void records_init(struct records *all)
{
    (void)all;
}

void records_free(struct records *all)
{
    (void)all;
}

bool reg_has_address(const struct reg_type *type)
{
    (void)type;
    return false;
}

const char *store_problem(const struct store *store)
{
    (void)store;
    return "";
}

void config_problem_set(struct config_problem *problem, const char *format, ...)
{
    (void)problem;
    (void)format;
}

mx_err tls_files_load(struct tls_files *files, const struct image *image, const char *dir,
                      int64_t wall_ms, const char **out_problem)
{
    (void)image;
    (void)dir;
    (void)wall_ms;
    (void)out_problem;
    *files = (struct tls_files){0};
    return MX_OK;
}

void tls_files_free(struct tls_files *files)
{
    (void)files;
}

const struct dir_domain *directory_find_domain(const struct directory *dir, struct slice name)
{
    (void)dir;
    (void)name;
    return NULL;
}

mx_err directory_put_domain(struct directory *dir, const struct dir_domain *domain)
{
    (void)dir;
    (void)domain;
    return MX_ERR_BUG;
}

void directory_remove_domain(struct directory *dir, struct slice name)
{
    (void)dir;
    (void)name;
}

void directory_remove_address(struct directory *dir, uint64_t domain_id, struct slice local)
{
    (void)dir;
    (void)domain_id;
    (void)local;
}

/* What next hops said is a core's own. */
void verify_forget_address(struct verify *v, uint64_t domain_id, struct slice local)
{
    (void)v;
    (void)domain_id;
    (void)local;
}

void verify_forget_all(struct verify *v)
{
    (void)v;
}

mx_err service_tune_prepare(struct service *service, const struct image *image)
{
    (void)service;
    (void)image;
    return MX_OK;
}

void service_tune_cancel(struct service *service)
{
    (void)service;
}

void service_tune(struct service *service, const struct image *image)
{
    (void)service;
    (void)image;
}

void service_resolver_switch(struct service *service)
{
    (void)service;
}

void srv_conn_recheck(struct srv_conn *conn)
{
    (void)conn;
}

bool directory_settle(struct directory *dir, size_t slots)
{
    (void)dir;
    (void)slots;
    return true;
}

void web_apply(struct web *web)
{
    (void)web;
}

void web_cancel(struct web *web)
{
    (void)web;
}

void listeners_switch(struct service *service, const struct image *image)
{
    (void)service;
    (void)image;
}

bool listeners_closing(const struct service *service)
{
    (void)service;
    return false;
}

void listeners_start(struct service *service)
{
    (void)service;
}

void listeners_cancel(struct service *service)
{
    (void)service;
}

mx_err tls_server_ctx_new(struct tls_ctx **out_ctx, const struct tls_server_conf *conf)
{
    (void)out_ctx;
    (void)conf;
    return MX_ERR_BUG;
}

void tls_ctx_free(struct tls_ctx *ctx)
{
    (void)ctx;
}

void wheel_cancel(struct wheel *wheel, struct timer *timer)
{
    (void)wheel;
    (void)timer;
}
