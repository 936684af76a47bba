/* The most memory that the simulated process may hold: computed from the named bounds, the
 * configuration, and what a run asks of it; never from what was seen. */
#pragma once

#include "tests/sim/life.h"

struct shard;
struct service;

/* Whatever is asked. */
size_t bound_process(const struct life_conf *conf);
size_t bound_core(const struct life_conf *conf, const struct shard *shard,
                  const struct service *service);
/* For what is asked, on whatever cores it is: a message is on one. Reads the sizes of the pools of
 * one core, which are those of all. */
size_t bound_load(const struct life_conf *conf, const struct shard *shard,
                  const struct service *service);
