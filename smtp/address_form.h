/* Addresses as expressions see them: equal ones look equal. */
#pragma once

#include "smtp/addr_parse.h"
#include "smtp/envelope.h"

enum { ADDRESS_FORM_MAX = ADDRESS_MAX + DOMAIN_MAX };

/* Behind the last at sign of an address; empty without one. */
struct slice address_domain(struct slice address);
/* The domain as A-labels in lower case; with whole the local part in lower case (A to Z) too. It is
 * the address itself when nothing is to be changed, or in buf. */
struct slice address_form(uint8_t buf[ADDRESS_FORM_MAX], struct slice address, bool whole);
