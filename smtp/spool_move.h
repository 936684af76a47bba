/* Moving a message or an extent forward in the journal, so that an old segment can be freed. The
 * copy of a MESSAGE record carries the recipients' states. */
#pragma once

struct spool;
struct spool_resident;

enum { SPOOL_MOVES_MAX = 16 };

/* Starts a move; ignored when it is moving already or enough moves are under way (the journal asks
 * again). */
void spool_move(struct spool *spool, struct spool_resident *res);
