#include "admin/config.h"

#include "admin/arena.h"
#include "admin/config_build.h"

mx_err config_load(struct config **out_config, const char *data_dir, struct config_problem *problem)
{
    struct store *store;
    problem->text[0] = 0;
    mx_err err = store_open(&store, data_dir, problem);
    if (err) {
        return err;
    }
    const struct reg_type *type;
    err = config_build(out_config, store, CONFIG_WHOLE, &type, problem);
    store_close(store);
    return err;
}
