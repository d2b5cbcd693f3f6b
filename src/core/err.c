#include "core/err.h"

const char *slim_err_text(slim_err e)
{
    switch (e) {
    case SLIM_OK: return "success";
#define X(name, number, text)                                                                                                      \
    case SLIM_E_##name: return text;
        SLIM_ERRORS(X)
#undef X
    }
    return "unknown error";
}
