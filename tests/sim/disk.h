/* The simulated disk: files and folders with what the page cache shows and what would survive a
 * power cut. Written sectors (512 bytes) and changes of folders are unsynced until a sync, or a
 * synced write, makes them durable. */
#pragma once

#include "core/err.h"

struct inode;

void disk_format(uint64_t capacity);
/* From now on there is so much room. */
void disk_resize(uint64_t capacity);
/* The page cache is kept, locks and open files are not. */
void disk_after_kill(void);
/* Of what is unsynced a seeded subset survives; then as disk_after_kill. */
void disk_after_power_cut(void);

struct inode *disk_file(int fd); /* NULL: not a file's descriptor */
size_t disk_read(const struct inode *file, void *buf, size_t len, uint64_t offset);
/* MX_ERR_NOSPACE when it does not fit. dsync: durable as well. */
mx_err disk_write(struct inode *file, const void *buf, size_t len, uint64_t offset, bool dsync);
/* Of a write that was cut short: any of its sectors, durable or not. */
void disk_write_torn(struct inode *file, const void *buf, size_t len, uint64_t offset);
const char *disk_name(const struct inode *file);

/* Damages one random byte in some journal segment that a process left behind: nothing is there, in
 * the segment's header, where no mail is, or anywhere else. */
enum disk_rot { ROT_NOTHING, ROT_HEADER, ROT_RECORDS };
enum disk_rot disk_rot(void);
/* Calls each for every regular file below a folder; content is valid during the call. */
void disk_each(const char *folder,
               void (*each)(void *arg, const char *name, const uint8_t *bytes, size_t len),
               void *arg);
uint64_t disk_used(void);
