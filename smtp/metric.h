/* What metric() of an expression says (route/expr_metric.def), of one core. The management loop
 * collects it a few times a second, beside the gauges of overload, and adds the cores up. */
#pragma once

#include "route/expr.h"

struct service;

/* Bounded work: a look at every next hop. */
void metrics_take(const struct service *service, uint64_t out[EXPR_METRICS]);
