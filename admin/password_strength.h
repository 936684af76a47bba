/* How hard a password is to guess for somebody who knows what people choose. */
#pragma once

#include "core/slice.h"

enum {
    PASSWORD_BITS_MIN =
        27, /* 10^8 guesses: what the contract's default, strength three, asks for */
};

/* The logarithm to base 2 of the guesses that a password takes, roughly and rather too low: words
 * that many people use, sequences, rows of keys, years and what was there before count little,
 * whatever letters are written in their place ("P4ssword"). Up to PASSWORD_MAX bytes are looked at.
 */
unsigned password_bits(struct slice text);
