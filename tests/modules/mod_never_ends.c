/* A module whose children never end by themselves: stands in for one that waits for a lock which it holds itself. */
#include <unistd.h>

#include "httpd.h"
#include "http_config.h"

static apr_status_t never_end(void *data)
{
    (void)data;
    for (;;) {
        pause();
    }
    return APR_SUCCESS;
}

static void child_init(apr_pool_t *pchild, server_rec *s)
{
    (void)s;
    apr_pool_cleanup_register(pchild, NULL, never_end, apr_pool_cleanup_null);
}

static void register_hooks(apr_pool_t *p)
{
    (void)p;
    ap_hook_child_init(child_init, NULL, NULL, APR_HOOK_MIDDLE);
}

module AP_MODULE_DECLARE_DATA never_ends_module = { STANDARD20_MODULE_STUFF, NULL, NULL, NULL, NULL, NULL, register_hooks };
