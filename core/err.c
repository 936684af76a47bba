#include "core/err.h"

#include <errno.h>

static const char *const texts[MX_ERR_COUNT] = {
    [MX_OK] = "success",
#define MX_ERR(name, text) [MX_ERR_##name] = text,
#include "core/err.def"
#undef MX_ERR
};

static const char *const names[MX_ERR_COUNT] = {
    [MX_OK] = "OK",
#define MX_ERR(name, text) [MX_ERR_##name] = #name,
#include "core/err.def"
#undef MX_ERR
};

const char *err_text(mx_err err)
{
    return (unsigned)err < MX_ERR_COUNT ? texts[err] : "unknown error";
}

const char *err_name(mx_err err)
{
    return (unsigned)err < MX_ERR_COUNT ? names[err] : "UNKNOWN";
}

static const struct {
    int error_number;
    mx_err err;
} errno_map[] = {
    {EAGAIN, MX_ERR_AGAIN},
    {ENOBUFS, MX_ERR_AGAIN},
    {EINTR, MX_ERR_AGAIN},
    {ENOMEM, MX_ERR_NOMEM},
    {ENOSPC, MX_ERR_NOSPACE},
    {EDQUOT, MX_ERR_NOSPACE},
    {EFBIG, MX_ERR_NOSPACE},
    {EACCES, MX_ERR_PERMISSION},
    {EPERM, MX_ERR_PERMISSION},
    {EROFS, MX_ERR_PERMISSION},
    {EEXIST, MX_ERR_EXISTS},
    {ENOTEMPTY, MX_ERR_EXISTS},
    {ENOENT, MX_ERR_NOTFOUND},
    {ENOTDIR, MX_ERR_NOTFOUND},
    {EINVAL, MX_ERR_INVALID},
    {ENOSYS, MX_ERR_UNSUPPORTED},
    {EOPNOTSUPP, MX_ERR_UNSUPPORTED},
    {EAFNOSUPPORT, MX_ERR_UNSUPPORTED},
    {EPIPE, MX_ERR_CLOSED},
    {ENOTCONN, MX_ERR_CLOSED},
    {ECONNRESET, MX_ERR_RESET},
    {ECONNABORTED, MX_ERR_RESET},
    {ECONNREFUSED, MX_ERR_REFUSED},
    {ENETUNREACH, MX_ERR_UNREACHABLE},
    {EHOSTUNREACH, MX_ERR_UNREACHABLE},
    {EHOSTDOWN, MX_ERR_UNREACHABLE},
    {ENETDOWN, MX_ERR_UNREACHABLE},
    {EADDRNOTAVAIL, MX_ERR_UNREACHABLE},
    {ETIMEDOUT, MX_ERR_TIMEOUT},
    {ECANCELED, MX_ERR_CANCELLED},
    {EADDRINUSE, MX_ERR_INUSE},
    {EBUSY, MX_ERR_INUSE},
    {EMFILE, MX_ERR_NOFILES},
    {ENFILE, MX_ERR_NOFILES},
};

mx_err err_from_errno(int error_number)
{
    if (error_number == 0) {
        return MX_OK;
    }
    for (size_t i = 0; i < mx_countof(errno_map); i++) {
        if (errno_map[i].error_number == error_number) {
            return errno_map[i].err;
        }
    }
    return MX_ERR_IO;
}
