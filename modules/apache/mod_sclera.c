/* mod_sclera.c: carries requests from Apache httpd to a superserver through libsclera.
 *
 * This file translates: directives, a request in, an answer out, log lines. What CSP.ini means, how a superserver is
 * spoken to and what a failure looks like are the library's business; sclera.h is the contract.
 *
 * A request is ours by `CSP On`, by `CSPFileTypes`, or by one of the handler names below. It never becomes a file: where
 * a Location decides, Apache's walk through the file system is left out; where a Directory or the server as a whole
 * decides, the walk is needed to know, and its result is then ignored. Access control, authentication and Location
 * sections apply in either case.
 *
 * Life: pre_config compares the library with the header this file was built with. check_config validates, for `-t` only.
 * post_config opens one gateway per CSP.ini, before the fork. child_init starts a worker where the configuration uses the
 * gateway; elsewhere (handler names are another module's directives) the first request does.
 *
 * AuthCSPEnable and AuthCSPClass leave the password to an application. Apache then takes the user for checked, so such a
 * request must not be answered by anybody else: csp_guard sees to that, whatever other modules do with it on its way.
 */

#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <unistd.h>

#include "httpd.h"
#include "http_config.h"
#include "http_core.h"
#include "http_log.h"
#include "http_main.h"
#include "http_protocol.h"
#include "http_request.h"
#include "ap_expr.h"
#include "ap_mpm.h"
#include "ap_release.h"
#include "mpm_common.h"
#include "unixd.h"
#include "util_filter.h"

#include "apr_atomic.h"
#include "apr_base64.h"
#include "apr_buckets.h"
#include "apr_lib.h"
#include "apr_strings.h"
#include "apr_tables.h"
#include "apr_thread_mutex.h"

#include "sclera.h"

/* One object, several names: an existing configuration loads `csp_module_sa`, or `csp_module` where it used the NSD; a new
 * one may say `sclera_module`. */
extern module AP_MODULE_DECLARE_DATA csp_module_sa;
extern module AP_MODULE_DECLARE_DATA csp_module __attribute__((alias("csp_module_sa")));
extern module AP_MODULE_DECLARE_DATA sclera_module __attribute__((alias("csp_module_sa")));

APLOG_USE_MODULE(sclera);

#define CSP_HANDLER "csp-handler-sa"
#define CSP_UNSET (-1)

/* Pieces of an answer are copied until a write's worth has come; the piece that completes it passes uncopied. Pieces have
 * 16 KiB or less, and each write wakes the browser: three of them to a write cost a seventh less than one. */
#define CSP_GATHER (36 * 1024)

/* One CSP.ini. Lives in the parent for as long as the process does; `gateway` changes only in post_config, `worker` is
 * each child's own and is set once. */
typedef struct {
    const char *path;
    sclera_gateway *gateway;
    int wanted; /* by the configuration just read */
    void *volatile worker;
} csp_site;

/* Survives restarts. */
typedef struct {
    apr_array_header_t *sites; /* of csp_site * */
    int used;                  /* the configuration just read sends requests here */
} csp_retained;

/* Populated while parsing, `site` in post_config, read-only after that. */
typedef struct {
    const char *config_path;
    const char *module_path;
    csp_site *site;
} csp_server_conf;

/* Populated while parsing, read-only after that. */
typedef struct {
    int csp;                        /* CSP_UNSET, or what `CSP` says */
    apr_array_header_t *file_types; /* of const char *, without dots; NULL if unset */
    int auth_enable;                /* CSP_UNSET, or what `AuthCSPEnable` says */
    const char *auth_class;         /* the page of `AuthCSPClass`, empty for `None`; NULL if unset */
} csp_dir_conf;

/* The credentials that a request was let pass with although nobody has checked them yet. Lives in the request's pool. */
typedef struct {
    const char *password;
} csp_unchecked;

static const char *csp_set_csp(cmd_parms *cmd, void *conf, int on);
static const char *csp_add_file_type(cmd_parms *cmd, void *conf, const char *arg);
static const char *csp_set_auth_class(cmd_parms *cmd, void *conf, const char *arg);
static const char *csp_set_path(cmd_parms *cmd, void *conf, const char *arg);
static const char *csp_ignore(cmd_parms *cmd, void *conf, const char *arg);
static void *csp_create_server_conf(apr_pool_t *p, server_rec *s);
static void *csp_merge_server_conf(apr_pool_t *p, void *base, void *add);
static void *csp_create_dir_conf(apr_pool_t *p, char *dir);
static void *csp_merge_dir_conf(apr_pool_t *p, void *base, void *add);
static int csp_pre_config(apr_pool_t *pconf, apr_pool_t *plog, apr_pool_t *ptemp);
static int csp_check_config(apr_pool_t *pconf, apr_pool_t *plog, apr_pool_t *ptemp, server_rec *s);
static int csp_post_config(apr_pool_t *pconf, apr_pool_t *plog, apr_pool_t *ptemp, server_rec *s);
static int csp_drop_privileges(apr_pool_t *pchild, server_rec *s);
static void csp_child_init(apr_pool_t *pchild, server_rec *s);
static int csp_keep_encoded_slashes(request_rec *r);
static int csp_map_to_storage(request_rec *r);
static int csp_check_authn(request_rec *r);
static int csp_type_checker(request_rec *r);
static int csp_guard(request_rec *r);
static int csp_handler(request_rec *r);
static void csp_register_hooks(apr_pool_t *p);

static const command_rec csp_commands[] = {
    AP_INIT_FLAG("CSP", csp_set_csp, NULL, RSRC_CONF | ACCESS_CONF,
                 "On: every request in this scope goes to the superserver; Off: none"),
    AP_INIT_ITERATE("CSPFileTypes", csp_add_file_type, NULL, RSRC_CONF | ACCESS_CONF,
                    "File extensions that go to the superserver, or * for any"),
    AP_INIT_FLAG("AuthCSPEnable", ap_set_flag_slot, (void *)APR_OFFSETOF(csp_dir_conf, auth_enable), ACCESS_CONF,
                 "On: the application checks user and password of AuthType Basic, not Apache"),
    AP_INIT_TAKE1("AuthCSPClass", csp_set_auth_class, NULL, ACCESS_CONF,
                  "Path of a page that is asked before each request: 200 lets it pass, 401 refuses it; or None"),
    AP_INIT_TAKE1("CSPConfigPath", csp_set_path, (void *)APR_OFFSETOF(csp_server_conf, config_path), RSRC_CONF,
                  "CSP.ini, or the directory that holds it"),
    AP_INIT_TAKE1("CSPModulePath", csp_set_path, (void *)APR_OFFSETOF(csp_server_conf, module_path), RSRC_CONF,
                  "Where CSP.ini is looked for if CSPConfigPath is not set"),
    AP_INIT_TAKE1("CSPSYSModulePath", csp_ignore, "nothing is loaded from there, one module does everything", RSRC_CONF,
                  "Accepted for existing configurations; there is no second module to find"),
    AP_INIT_TAKE1("CSPMaxPooledNSDConnections", csp_ignore,
                  "connections are pooled in the web server itself, there is no separate daemon", RSRC_CONF,
                  "Accepted for existing configurations; there is no separate daemon to pool connections to"),
    {NULL}
};

module AP_MODULE_DECLARE_DATA csp_module_sa = {
    STANDARD20_MODULE_STUFF,
    csp_create_dir_conf,
    csp_merge_dir_conf,
    csp_create_server_conf,
    csp_merge_server_conf,
    csp_commands,
    csp_register_hooks,
#if defined(AP_MODULE_FLAG_NONE)
    AP_MODULE_FLAG_NONE
#endif
};

static csp_retained *retained;
static int loaded_twice;

/* In a child: guards the start of workers, and counts the threads that are inside the library. */
static apr_thread_mutex_t *start_mutex;
static volatile apr_uint32_t threads_inside;

static apr_status_t csp_forget_registration(void *registered)
{
    *(int *)registered = 0;
    loaded_twice = 0;
    return APR_SUCCESS;
}

static void csp_register_hooks(apr_pool_t *p)
{
    static int registered;

    /* Called once for each LoadModule line; loaded under both names, every hook would run twice. */
    if (registered) {
        loaded_twice = 1;
        return;
    }
    registered = 1;
    apr_pool_cleanup_register(p, &registered, csp_forget_registration, apr_pool_cleanup_null);

    ap_hook_pre_config(csp_pre_config, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_check_config(csp_check_config, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_post_config(csp_post_config, NULL, NULL, APR_HOOK_LAST);
    ap_hook_drop_privileges(csp_drop_privileges, NULL, NULL, APR_HOOK_REALLY_FIRST);
    ap_hook_child_init(csp_child_init, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_pre_translate_name(csp_keep_encoded_slashes, NULL, NULL, APR_HOOK_LAST);
    ap_hook_map_to_storage(csp_map_to_storage, NULL, NULL, APR_HOOK_FIRST);
    /* before mod_auth_basic */
    ap_hook_check_authn(csp_check_authn, NULL, NULL, APR_HOOK_FIRST, AP_AUTH_INTERNAL_PER_CONF);
    ap_hook_type_checker(csp_type_checker, NULL, NULL, APR_HOOK_REALLY_FIRST); /* before MultiViews */
    ap_hook_handler(csp_guard, NULL, NULL, APR_HOOK_REALLY_FIRST);
    ap_hook_handler(csp_handler, NULL, NULL, APR_HOOK_MIDDLE);
}

/* ---- directives ---- */

static void *csp_create_server_conf(apr_pool_t *p, server_rec *s)
{
    (void)s;
    return apr_pcalloc(p, sizeof(csp_server_conf));
}

static void *csp_merge_server_conf(apr_pool_t *p, void *basev, void *addv)
{
    const csp_server_conf *base = basev, *add = addv;
    csp_server_conf *conf = apr_pcalloc(p, sizeof(*conf));

    conf->config_path = add->config_path ? add->config_path : base->config_path;
    conf->module_path = add->module_path ? add->module_path : base->module_path;
    return conf;
}

static void *csp_create_dir_conf(apr_pool_t *p, char *dir)
{
    csp_dir_conf *conf = apr_pcalloc(p, sizeof(*conf));

    (void)dir;
    conf->csp = CSP_UNSET;
    conf->auth_enable = CSP_UNSET;
    return conf;
}

static void *csp_merge_dir_conf(apr_pool_t *p, void *basev, void *addv)
{
    const csp_dir_conf *base = basev, *add = addv;
    csp_dir_conf *conf = apr_pcalloc(p, sizeof(*conf));

    conf->file_types = add->file_types ? add->file_types : base->file_types;
    conf->auth_enable = add->auth_enable != CSP_UNSET ? add->auth_enable : base->auth_enable;
    conf->auth_class = add->auth_class ? add->auth_class : base->auth_class;
    if (add->csp != CSP_UNSET) {
        conf->csp = add->csp;
    }
    else if (add->file_types && !base->csp) {
        conf->csp = CSP_UNSET; /* the nearer section speaks of its types, so an `Off` further out is no longer meant */
    }
    else {
        conf->csp = base->csp;
    }
    return conf;
}

static const char *csp_set_csp(cmd_parms *cmd, void *confv, int on)
{
    csp_dir_conf *conf = confv;

    (void)cmd;
    conf->csp = on ? 1 : 0;
    retained->used |= conf->csp;
    return NULL;
}

static const char *csp_add_file_type(cmd_parms *cmd, void *confv, const char *arg)
{
    csp_dir_conf *conf = confv;

    if (*arg == '.') {
        arg++;
    }
    if (!*arg || strpbrk(arg, "./")) {
        return apr_pstrcat(cmd->pool, "CSPFileTypes: invalid value \"", arg,
                           "\"; expected extensions such as csp or cls, or *", NULL);
    }
    if (!conf->file_types) {
        conf->file_types = apr_array_make(cmd->pool, 4, sizeof(const char *));
    }
    APR_ARRAY_PUSH(conf->file_types, const char *) = arg;
    retained->used = 1;
    return NULL;
}

static const char *csp_set_auth_class(cmd_parms *cmd, void *confv, const char *arg)
{
    csp_dir_conf *conf = confv;

    if (!ap_cstr_casecmp(arg, "None")) {
        conf->auth_class = "";
        return NULL;
    }
    if (*arg != '/') {
        return apr_pstrcat(cmd->pool, "AuthCSPClass: invalid path \"", arg,
                           "\"; expected the path of a page that begins with a slash, or None", NULL);
    }
    conf->auth_class = arg;
    return NULL;
}

static const char *csp_set_path(cmd_parms *cmd, void *dummy, const char *arg)
{
    csp_server_conf *conf = ap_get_module_config(cmd->server->module_config, &csp_module_sa);
    const char **field = (const char **)((char *)conf + (apr_size_t)cmd->info);
    char *path = *arg ? ap_server_root_relative(cmd->pool, arg) : NULL;
    apr_size_t length;

    (void)dummy;
    if (!path) {
        return apr_pstrcat(cmd->pool, cmd->cmd->name, ": invalid path \"", arg, "\"", NULL);
    }
    for (length = strlen(path); length > 1 && path[length - 1] == '/'; length--) {
        path[length - 1] = '\0';
    }
    *field = path;
    return NULL;
}

static const char *csp_ignore(cmd_parms *cmd, void *dummy, const char *arg)
{
    (void)dummy;
    (void)arg;
    ap_log_error(APLOG_MARK, APLOG_NOTICE, 0, cmd->server,
                 "%s has no effect: %s", cmd->cmd->name, (const char *)cmd->info);
    return NULL;
}

/* ---- life ---- */

static int csp_level(sclera_level level)
{
    switch (level) {
    case SCLERA_LEVEL_ERROR:
        return APLOG_ERR;
    case SCLERA_LEVEL_WARNING:
        return APLOG_WARNING;
    case SCLERA_LEVEL_NOTICE:
        return APLOG_NOTICE;
    case SCLERA_LEVEL_INFO:
        return APLOG_INFO;
    default:
        return APLOG_DEBUG;
    }
}

/* May be called by any thread, and long after the server_rec that was current at opening is gone. */
static void csp_log(void *userdata, sclera_level level, const char *text, size_t length)
{
    (void)userdata;
    ap_log_error(APLOG_MARK, csp_level(level), 0, ap_server_conf, "%.*s", (int)length, text);
}

/* For `-t`: the findings alone, as Apache prints its own. */
static void csp_log_finding(void *userdata, sclera_level level, const char *text, size_t length)
{
    (void)userdata;
    ap_log_error(APLOG_MARK, csp_level(level) | APLOG_STARTUP, 0, ap_server_conf, "%.*s", (int)length, text);
}

static sclera_options csp_options(const char *path, sclera_log_fn log, int first_start)
{
    sclera_options options = {
        .size = sizeof(options),
        .abi = SCLERA_ABI,
        .config_path = path,
        .host_software = ap_get_server_banner(),
        .log = log,
        .first_start = first_start,
    };

    return options;
}

static const char *csp_path_of(server_rec *s)
{
    const csp_server_conf *conf = ap_get_module_config(s->module_config, &csp_module_sa);

    return conf->config_path ? conf->config_path : conf->module_path;
}

static csp_site *csp_site_of(const char *path)
{
    csp_site *site;
    int i;

    for (i = 0; i < retained->sites->nelts; i++) {
        site = APR_ARRAY_IDX(retained->sites, i, csp_site *);
        if (!strcmp(site->path, path)) {
            return site;
        }
    }
    site = apr_pcalloc(retained->sites->pool, sizeof(*site));
    site->path = apr_pstrdup(retained->sites->pool, path);
    APR_ARRAY_PUSH(retained->sites, csp_site *) = site;
    return site;
}

static int csp_pre_config(apr_pool_t *pconf, apr_pool_t *plog, apr_pool_t *ptemp)
{
    static const char key[] = "mod_sclera";

    (void)pconf;
    (void)plog;
    (void)ptemp;
    if (loaded_twice) {
        ap_log_error(APLOG_MARK, APLOG_CRIT | APLOG_STARTUP, 0, NULL,
                     "mod_sclera is loaded twice, under two of its names csp_module_sa, csp_module and sclera_module; keep one "
                     "LoadModule line");
        return HTTP_INTERNAL_SERVER_ERROR;
    }
    if (sclera_abi() != SCLERA_ABI) {
        ap_log_error(APLOG_MARK, APLOG_CRIT | APLOG_STARTUP, 0, NULL,
                     "mod_sclera was built for ABI %u of libsclera, but libsclera %s has ABI %u; install both from the "
                     "same release", (unsigned)SCLERA_ABI, sclera_version(), (unsigned)sclera_abi());
        return HTTP_INTERNAL_SERVER_ERROR;
    }

    retained = ap_retained_data_get(key);
    if (!retained) {
        retained = ap_retained_data_create(key, sizeof(*retained));
        retained->sites = apr_array_make(ap_pglobal, 1, sizeof(csp_site *));
    }
    retained->used = 0;
    return OK;
}

/* The user the children will run as, or 0 if they stay who we are. */
static int csp_child_user(apr_pool_t *p, sclera_user *user)
{
    const struct passwd *entry;
    gid_t *groups;
    int count = 32, i;
    uint32_t *listed;

    if (geteuid() != 0) {
        return 0;
    }
    user->size = sizeof(*user);
    user->uid = ap_unixd_config.user_id;
    user->gid = ap_unixd_config.group_id;
    user->groups = NULL;
    user->group_count = 0;
    entry = getpwuid(ap_unixd_config.user_id);
    if (!entry) {
        return 1; /* `User #number` without an account: no supplementary groups, as Apache starts it */
    }

    groups = apr_palloc(p, count * sizeof(*groups));
    if (getgrouplist(entry->pw_name, ap_unixd_config.group_id, groups, &count) < 0) {
        groups = apr_palloc(p, count * sizeof(*groups));
        if (getgrouplist(entry->pw_name, ap_unixd_config.group_id, groups, &count) < 0) {
            return 1;
        }
    }
    listed = apr_palloc(p, count * sizeof(*listed));
    for (i = 0; i < count; i++) {
        listed[i] = groups[i];
    }
    user->groups = listed;
    user->group_count = count;
    return 1;
}

/* Runs for `-t` alone. A start never fails because of CSP.ini or a certificate: one broken server must not take the
 * whole web server down, and a failure at a graceful restart would end httpd. */
static int csp_check_config(apr_pool_t *pconf, apr_pool_t *plog, apr_pool_t *ptemp, server_rec *main_server)
{
    apr_array_header_t *checked = apr_array_make(ptemp, 1, sizeof(const char *));
    sclera_user user;
    int as_user, status = OK;
    sclera_result result;
    server_rec *s;

    (void)pconf;
    (void)plog;
    if (ap_state_query(AP_SQ_RUN_MODE) != AP_SQ_RM_CONFIG_TEST) {
        return OK;
    }
    as_user = csp_child_user(ptemp, &user);
    for (s = main_server; s; s = s->next) {
        const char *path = csp_path_of(s);
        sclera_options options = csp_options(path, csp_log_finding, 1);

        if (!path || ap_array_str_contains(checked, path)) {
            continue;
        }
        APR_ARRAY_PUSH(checked, const char *) = path;
        result = sclera_check(&options, as_user ? &user : NULL);
        if (result != SCLERA_OK) {
            status = HTTP_INTERNAL_SERVER_ERROR;
        }
        if (result != SCLERA_OK && result != SCLERA_CONFIGURATION) { /* findings have been logged one by one */
            ap_log_error(APLOG_MARK, APLOG_ERR | APLOG_STARTUP, 0, main_server, "CSPConfigPath %s: %s", path,
                         sclera_last_error());
        }
    }
    if (retained->used && !checked->nelts) {
        ap_log_error(APLOG_MARK, APLOG_ERR | APLOG_STARTUP, 0, main_server,
                     "CSP is used, but CSPConfigPath is not set; set it to the directory that holds CSP.ini");
        status = HTTP_INTERNAL_SERVER_ERROR;
    }
    return status;
}

/* Opens the site's CSP.ini. One that has become unusable leaves the site as it was. */
static void csp_open(apr_pool_t *ptemp, csp_site *site)
{
    sclera_options options = csp_options(site->path, csp_log, site->gateway == NULL);
    sclera_gateway *gateway = NULL;
    sclera_user user;

    if (csp_child_user(ptemp, &user)) {
        options.workers = &user;
    }

    if (sclera_gateway_open(&options, &gateway) != SCLERA_OK) {
        ap_log_error(APLOG_MARK, APLOG_ERR, 0, ap_server_conf, "CSPConfigPath %s: %s%s", site->path,
                     sclera_last_error(), site->gateway ? "; what was read before stays in force" : "");
        return;
    }
    if (site->gateway && sclera_gateway_problem(gateway)) { /* which has been logged, finding by finding */
        ap_log_error(APLOG_MARK, APLOG_ERR, 0, ap_server_conf,
                     "CSPConfigPath %s: CSP.ini cannot be used as it is now; what was read before stays in force",
                     site->path);
        sclera_gateway_free(gateway);
        return;
    }
    sclera_gateway_free(site->gateway);
    site->gateway = gateway;
}

/* The configuration goes: for a restart, or because the parent ends. Children, whose exit also comes here, still say that
 * the server runs. */
static apr_status_t csp_close(void *data)
{
    int i;

    (void)data;
    if (ap_state_query(AP_SQ_MAIN_STATE) != AP_SQ_MS_EXITING) {
        return APR_SUCCESS;
    }
    for (i = 0; i < retained->sites->nelts; i++) {
        csp_site *site = APR_ARRAY_IDX(retained->sites, i, csp_site *);

        sclera_gateway_free(site->gateway);
        site->gateway = NULL;
    }
    return APR_SUCCESS;
}

static int csp_post_config(apr_pool_t *pconf, apr_pool_t *plog, apr_pool_t *ptemp, server_rec *main_server)
{
    server_rec *s;
    int i;

    (void)plog;
    /* Apache reads its configuration twice at start; the first time is only a rehearsal. */
    if (ap_state_query(AP_SQ_MAIN_STATE) == AP_SQ_MS_CREATE_PRE_CONFIG) {
        return OK;
    }

    apr_pool_cleanup_register(pconf, NULL, csp_close, apr_pool_cleanup_null);
    for (i = 0; i < retained->sites->nelts; i++) {
        APR_ARRAY_IDX(retained->sites, i, csp_site *)->wanted = 0;
    }
    for (s = main_server; s; s = s->next) {
        csp_server_conf *conf = ap_get_module_config(s->module_config, &csp_module_sa);
        const char *path = csp_path_of(s);

        if (path) {
            conf->site = csp_site_of(path);
            if (!conf->site->wanted) {
                conf->site->wanted = 1;
                csp_open(ptemp, conf->site);
            }
        }
        else if (retained->used && s == main_server) {
            ap_log_error(APLOG_MARK, APLOG_ERR, 0, s,
                         "CSP is used, but CSPConfigPath is not set here; set it to the directory that holds CSP.ini");
        }
    }
    for (i = 0; i < retained->sites->nelts; i++) {
        csp_site *site = APR_ARRAY_IDX(retained->sites, i, csp_site *);

        if (!site->wanted) {
            sclera_gateway_free(site->gateway);
            site->gateway = NULL;
        }
    }
    return OK;
}

/* The site's worker in this process, started if need be. NULL: the reason has been logged. */
static sclera_worker *csp_worker(csp_site *site)
{
    sclera_worker *worker = apr_atomic_casptr((void *)&site->worker, NULL, NULL);

    if (worker) {
        return worker;
    }
    apr_thread_mutex_lock(start_mutex);
    worker = site->worker;
    if (!worker && site->gateway) {
        if (sclera_worker_start(site->gateway, &worker) == SCLERA_OK) {
            apr_atomic_xchgptr((void *)&site->worker, worker);
        }
        else {
            ap_log_error(APLOG_MARK, APLOG_ERR, 0, ap_server_conf, "CSPConfigPath %s: %s", site->path,
                         sclera_last_error());
            worker = NULL;
        }
    }
    apr_thread_mutex_unlock(start_mutex);
    return worker;
}

static apr_status_t csp_child_exit(void *data)
{
    int i;

    (void)data;
    /* The prefork MPM may end a child from within a signal handler, in the middle of a request or of a worker's start. The
     * library cannot be asked for anything then, and need not be: the kernel closes its connections. */
    if (apr_atomic_read32(&threads_inside)) {
        return APR_SUCCESS;
    }
    for (i = 0; i < retained->sites->nelts; i++) {
        csp_site *site = APR_ARRAY_IDX(retained->sites, i, csp_site *);

        sclera_worker_stop(site->worker);
        site->worker = NULL;
    }
    return APR_SUCCESS;
}

static void csp_child_init(apr_pool_t *pchild, server_rec *main_server)
{
    apr_status_t rv = apr_thread_mutex_create(&start_mutex, APR_THREAD_MUTEX_DEFAULT, pchild);
    int i;

    if (rv != APR_SUCCESS) {
        ap_log_error(APLOG_MARK, APLOG_CRIT, rv, main_server, "mod_sclera: no mutex; this child cannot serve CSP requests");
        return;
    }
    apr_pool_cleanup_register(pchild, NULL, csp_child_exit, apr_pool_cleanup_null);
    apr_atomic_inc32(&threads_inside);
    for (i = 0; retained->used && i < retained->sites->nelts; i++) {
        csp_site *site = APR_ARRAY_IDX(retained->sites, i, csp_site *);

        if (site->wanted) {
            csp_worker(site);
        }
    }
    apr_atomic_dec32(&threads_inside);
}

/* ---- a child that is told to end at any moment ---- */

/* How long a child may take for its end, in seconds. After three the parent complains in the error log. */
#define CSP_PATIENCE 2

/* How the MPM ends a child, by signal. */
static struct sigaction csp_end_by[NSIG];

static void csp_leave(int signal)
{
    (void)signal;
    _exit(0);
}

/* The prefork MPM's handlers destroy the child's pools and call exit(), whatever the child is doing. If it is just holding
 * a lock of malloc(), it waits for itself; alone in its process it would not, but the library has threads. */
static void csp_end_in_time(int signal)
{
    struct sigaction leave;

    memset(&leave, 0, sizeof(leave));
    leave.sa_handler = csp_leave;
    sigaction(SIGALRM, &leave, NULL); /* cannot fail, nor would there be anything to do about it */
    alarm(CSP_PATIENCE);
    csp_end_by[signal].sa_handler(signal);
}

static void csp_bound_end(server_rec *s, int signal)
{
    struct sigaction bounded;

    if (sigaction(signal, NULL, &csp_end_by[signal]) == 0 && !(csp_end_by[signal].sa_flags & SA_SIGINFO)
        && csp_end_by[signal].sa_handler != SIG_DFL && csp_end_by[signal].sa_handler != SIG_IGN) {
        bounded = csp_end_by[signal];
        bounded.sa_handler = csp_end_in_time;
        if (sigaction(signal, &bounded, NULL) == 0) {
            return;
        }
        ap_log_error(APLOG_MARK, APLOG_WARNING, errno, s, "mod_sclera: signal %d may be unable to end this child at once",
                     signal);
    }
}

/* The first hook that runs in a child, long before there is a worker. The threaded MPMs end their children otherwise. */
static int csp_drop_privileges(apr_pool_t *pchild, server_rec *s)
{
    int threaded = AP_MPMQ_NOT_SUPPORTED;

    (void)pchild;
    if (ap_mpm_query(AP_MPMQ_IS_THREADED, &threaded) == APR_SUCCESS && threaded == AP_MPMQ_NOT_SUPPORTED) {
        csp_bound_end(s, SIGTERM);
        csp_bound_end(s, SIGHUP);
    }
    return DECLINED;
}

/* ---- which requests are ours ---- */

static int csp_is_our_handler(const char *handler)
{
    /* The last is a type given by AddType: Apache takes the type for the handler where none is set. */
    return handler && (!strcmp(handler, CSP_HANDLER) || !strcmp(handler, "cspsys-handler-sa")
                       || !ap_cstr_casecmp(handler, "application/x-csp"));
}

static int csp_has_file_type(const csp_dir_conf *conf, const char *path)
{
    const char *name = ap_strrchr_c(path, '/');
    const char *dot = ap_strrchr_c(name ? name : path, '.');
    int i;

    for (i = 0; dot && dot[1] && i < conf->file_types->nelts; i++) {
        const char *type = APR_ARRAY_IDX(conf->file_types, i, const char *);

        if (!strcmp(type, "*") || !ap_cstr_casecmp(type, dot + 1)) {
            return 1;
        }
    }
    return 0;
}

static const csp_dir_conf *csp_conf_of(request_rec *r)
{
    return ap_get_module_config(r->per_dir_config, &csp_module_sa);
}

/* What the directives in force say. `handler` is the one another directive has chosen, or NULL. */
static int csp_takes(request_rec *r, const char *handler)
{
    const csp_dir_conf *conf = csp_conf_of(r);

    if (r->proxyreq || !r->uri || *r->uri != '/' || r->method_number == M_CONNECT) {
        return 0;
    }
    if (conf->csp != CSP_UNSET) {
        return conf->csp;
    }
    return csp_is_our_handler(handler) || (conf->file_types && csp_has_file_type(conf, r->uri));
}

/* What SetHandler says in the sections in force, before Apache itself looks. */
static const char *csp_set_handler(request_rec *r)
{
    const core_dir_config *core = ap_get_core_module_config(r->per_dir_config);
    const char *error = NULL;

    return core->expr_handler ? ap_expr_str_exec(r, core->expr_handler, &error) : core->handler;
}

/* An application's path may hold an encoded slash. Outside our paths AllowEncodedSlashes decides; on them, its default
 * (404) would make such resources unreachable, so they are treated as `AllowEncodedSlashes NoDecode` says. The
 * application gets the path as the browser sent it in any case. */
static int csp_keep_encoded_slashes(request_rec *r)
{
    const core_dir_config *core = ap_get_core_module_config(r->per_dir_config);
    int status;

    if (!r->parsed_uri.path || !ap_strcasestr(r->parsed_uri.path, "%2f") || core->allow_encoded_slashes
        || !csp_takes(r, csp_set_handler(r))) {
        return DECLINED;
    }
    status = ap_unescape_url_keep2f(r->parsed_uri.path, 0);
    return status == OK ? DONE : status;
}

/* Where a Location has decided, there is no file to look for. This hook sees the server's defaults, so the sections are
 * walked here; Apache walks them again, as after every map_to_storage. */
static int csp_map_to_storage(request_rec *r)
{
    ap_conf_vector_t *defaults = r->per_dir_config;
    const core_dir_config *core = ap_get_core_module_config(defaults);
    const csp_dir_conf *conf = ap_get_module_config(defaults, &csp_module_sa);
    int status, ours;

    if (r->proxyreq || !r->uri || *r->uri != '/' || r->method_number == M_TRACE || r->method_number == M_CONNECT) {
        return DECLINED;
    }
    status = ap_location_walk(r);
    if (status != OK) {
        return status;
    }
    ours = (conf != ap_get_module_config(r->per_dir_config, &csp_module_sa)
            || core->expr_handler != ((core_dir_config *)ap_get_core_module_config(r->per_dir_config))->expr_handler)
           && csp_takes(r, csp_set_handler(r));
    r->per_dir_config = defaults;
    return ours ? ap_file_walk(r) : DECLINED;
}

/* Keeps the modules that think in files (types, negotiation, directory indexes, spelling) away from our requests. */
static int csp_type_checker(request_rec *r)
{
    if (!csp_takes(r, csp_set_handler(r))) {
        return DECLINED;
    }
    if (r->finfo.filetype != APR_REG) {
        r->finfo.filetype = APR_UNKFILE;
    }
    if (!r->handler) {
        r->handler = CSP_HANDLER; /* a SetHandler in force still replaces it */
    }
    return OK;
}

/* ---- who checks the password ---- */

static int csp_asks_class(const csp_dir_conf *conf)
{
    return conf->auth_class && *conf->auth_class;
}

/* The request from which Apache has taken over the user instead of checking again: one that led to this one and is under
 * the same directives. */
static request_rec *csp_checked_with(request_rec *r)
{
    if (r->prev && r->prev->per_dir_config == r->per_dir_config) {
        return r->prev;
    }
    return r->main && r->main->per_dir_config == r->per_dir_config ? r->main : NULL;
}

static const csp_unchecked *csp_unchecked_of(request_rec *r)
{
    const csp_unchecked *unchecked = NULL;

    for (; r && !unchecked; r = csp_checked_with(r)) {
        unchecked = ap_get_module_config(r->request_config, &csp_module_sa);
    }
    return unchecked;
}

/* Runs where `Require` asks for a user. Takes the credentials as they are if an application will judge them; a request
 * without any is Apache's to challenge. */
static int csp_check_authn(request_rec *r)
{
    const csp_dir_conf *conf = csp_conf_of(r);
    const char *type = ap_auth_type(r), *handler = csp_set_handler(r), *header, *end;
    csp_unchecked *unchecked;
    char *decoded;
    int length;

    if ((conf->auth_enable != 1 && !csp_asks_class(conf)) || r->proxyreq || !type || ap_cstr_casecmp(type, "Basic")) {
        return DECLINED;
    }
    /* Files and other modules' handlers keep Apache's own check. */
    if (!csp_takes(r, handler) || (handler && strcmp(handler, "none") && !csp_is_our_handler(handler))) {
        return DECLINED;
    }
    header = apr_table_get(r->headers_in, "Authorization");
    if (!header || ap_cstr_casecmp(ap_getword(r->pool, &header, ' '), "Basic")) {
        ap_note_auth_failure(r);
        return HTTP_UNAUTHORIZED;
    }
    while (apr_isspace(*header)) {
        header++;
    }
    decoded = apr_palloc(r->pool, apr_base64_decode_len(header) + 1);
    length = apr_base64_decode(decoded, header);
    decoded[length] = '\0';
    end = memchr(decoded, ':', length);
    if (!end || end == decoded || memchr(decoded, '\0', length)) {
        ap_note_auth_failure(r);
        return HTTP_UNAUTHORIZED;
    }
    r->user = apr_pstrmemdup(r->pool, decoded, end - decoded);
    r->ap_auth_type = (char *)"Basic";
    unchecked = apr_palloc(r->pool, sizeof(*unchecked));
    unchecked->password = end + 1;
    ap_set_module_config(r->request_config, &csp_module_sa, unchecked);
    return OK;
}

/* The first handler of all. What was let pass for an application's judgement reaches an application, or nobody. */
static int csp_guard(request_rec *r)
{
    if (!csp_unchecked_of(r) || (csp_is_our_handler(r->handler) && csp_takes(r, r->handler))) {
        return DECLINED;
    }
    ap_log_rerror(APLOG_MARK, APLOG_ERR, 0, r, "the user has not been checked, because AuthCSPEnable or AuthCSPClass leaves "
                  "it to the application, but the handler \"%s\" would answer; refused. Set AuthCSPEnable Off and "
                  "AuthCSPClass None where other handlers are in force", r->handler ? r->handler : "default-handler");
    return HTTP_FORBIDDEN;
}

/* ---- a request ---- */

static sclera_slice csp_slice(const char *text)
{
    sclera_slice slice = {(const uint8_t *)text, text ? strlen(text) : 0};

    return slice;
}

static char *csp_string(apr_pool_t *p, sclera_slice slice)
{
    return apr_pstrmemdup(p, slice.length ? (const char *)slice.data : "", slice.length);
}

/* The request target as the browser sent it; as Apache made it, where a module has rewritten it. */
static const char *csp_target(request_rec *r)
{
    const char *target = r->unparsed_uri;

    if (r->main || r->prev || r->uri != r->parsed_uri.path || r->args != r->parsed_uri.query) {
        target = ap_os_escape_path(r->pool, r->uri, 1);
        return r->args ? apr_pstrcat(r->pool, target, "?", r->args, NULL) : target;
    }
    if (*target != '/') { /* the absolute form: scheme, "://", authority */
        const char *authority = ap_strstr_c(target, "://");
        const char *path = authority ? ap_strchr_c(authority + 3, '/') : NULL;

        return path ? path : "/";
    }
    return target;
}

/* Prepares for reading the body. `length`: 0 if there is none, -1 if nobody knows. */
static int csp_setup_body(request_rec *r, int64_t *length)
{
    int status;

    *length = 0;
    /* A subrequest has no body, and the one of a request whose error page we are was dealt with before. */
    if (r->main || (r->prev && r->prev->status != HTTP_OK)) {
        return OK;
    }
    status = ap_setup_client_block(r, REQUEST_CHUNKED_DECHUNK);
    if (status != OK) {
        return status;
    }
    *length = r->read_chunked ? -1 : r->remaining;
    if (*length && r->input_filters != r->proto_input_filters && apr_table_get(r->headers_in, "Content-Encoding")) {
        *length = -1; /* a filter may decode it on the way */
    }
    return OK;
}

/* The page of AuthCSPClass is always asked by a whole GET: these headers say otherwise. */
static int csp_is_of_body_or_condition(const char *name)
{
    return !ap_cstr_casecmpn(name, "Content-", 8) || !ap_cstr_casecmpn(name, "If-", 3) || !ap_cstr_casecmp(name, "Range")
           || !ap_cstr_casecmp(name, "Transfer-Encoding") || !ap_cstr_casecmp(name, "Expect");
}

/* The id by which Apache itself knows the request, if it has one: mod_unique_id's, or that of its own error log. */
static const char *csp_host_id(request_rec *r)
{
    const char *id = apr_table_get(r->subprocess_env, "UNIQUE_ID");

    return id ? id : r->log_id;
}

/* Makes the request known under the library's id: as a variable, as a note for access logs, and as `%L` where Apache has
 * given the request no id of its own yet. */
static void csp_tell_id(request_rec *r, const sclera_exchange *exchange)
{
    const char *id = csp_string(r->pool, sclera_exchange_request_id(exchange));

    apr_table_setn(r->subprocess_env, "SCLERA_REQUEST_ID", id);
    apr_table_setn(r->notes, "sclera_request_id", id);
    if (!r->log_id) {
        r->log_id = id;
    }
}

/* What else an access log may want to say of it. */
static void csp_tell_outcome(request_rec *r, const sclera_exchange *exchange)
{
    sclera_failure failure = {.size = sizeof(failure)};
    sclera_slice server = sclera_exchange_server(exchange);

    if (server.length) {
        apr_table_setn(r->notes, "sclera_server", csp_string(r->pool, server));
    }
    if (sclera_exchange_failure(exchange, &failure)) {
        apr_table_setn(r->notes, "sclera_code", apr_psprintf(r->pool, "SCLERA-%u", failure.code));
    }
}

/* Tells the library what the browser asked for, or with `page` what AuthCSPClass asks in its name. The library copies what
 * it needs. */
static sclera_result csp_begin(request_rec *r, sclera_worker *worker, const char *page, int64_t content_length,
                               sclera_exchange **exchange)
{
    const csp_unchecked *unchecked = csp_conf_of(r)->auth_enable == 1 ? csp_unchecked_of(r) : NULL;
    const apr_array_header_t *headers = apr_table_elts(r->headers_in);
    const apr_table_entry_t *entries = (const apr_table_entry_t *)headers->elts;
    sclera_pair *pairs = apr_palloc(r->pool, (headers->nelts + 1) * sizeof(*pairs));
    size_t count = 0;
    int i;

    for (i = 0; i < headers->nelts; i++) {
        if (entries[i].key && !(page && csp_is_of_body_or_condition(entries[i].key))) {
            pairs[count].name = csp_slice(entries[i].key);
            pairs[count].value = csp_slice(entries[i].val);
            count++;
        }
    }

    sclera_request request = {
        .size = sizeof(request),
        .method = csp_slice(page ? "GET" : r->method),
        .target = csp_slice(page ? page : csp_target(r)),
        .protocol = csp_slice(r->protocol),
        .headers = pairs,
        .header_count = count,
        .content_length = content_length,
        .remote_address = csp_slice(r->useragent_ip),
        .remote_port = r->useragent_addr->port,
        .server_name = csp_slice(ap_get_server_name(r)),
        .server_port = ap_get_server_port(r),
        .https = !strcmp(ap_http_scheme(r), "https"),
        .remote_user = csp_slice(r->user),
        .auth_type = csp_slice(r->ap_auth_type),
        .request_id = csp_slice(csp_host_id(r)),
        .auth_password = csp_slice(unchecked ? unchecked->password : NULL),
    };

    return sclera_exchange_begin(worker, &request, exchange);
}

/* Hands over the next piece of the request body. What the library does not take now stays in `body`. */
static int csp_give_body(request_rec *r, sclera_exchange *exchange, apr_bucket_brigade *body, int *complete)
{
    size_t wanted = sclera_exchange_body_wanted(exchange);
    apr_status_t rv;

    if (APR_BRIGADE_EMPTY(body)) {
        rv = ap_get_brigade(r->input_filters, body, AP_MODE_READBYTES, APR_BLOCK_READ, wanted ? wanted : 1);
        if (rv != APR_SUCCESS) {
            ap_log_rerror(APLOG_MARK, APLOG_INFO, rv, r, "the request body could not be read");
            return ap_map_http_request_error(rv, HTTP_BAD_REQUEST);
        }
    }
    while (wanted && !APR_BRIGADE_EMPTY(body)) {
        apr_bucket *bucket = APR_BRIGADE_FIRST(body);
        const char *data;
        apr_size_t length;
        size_t taken;

        if (APR_BUCKET_IS_EOS(bucket)) {
            sclera_exchange_give_body(exchange, NULL, 0, true);
            *complete = 1;
            return OK;
        }
        if (!APR_BUCKET_IS_METADATA(bucket)) {
            rv = apr_bucket_read(bucket, &data, &length, APR_BLOCK_READ);
            if (rv != APR_SUCCESS) {
                ap_log_rerror(APLOG_MARK, APLOG_INFO, rv, r, "the request body could not be read");
                return ap_map_http_request_error(rv, HTTP_BAD_REQUEST);
            }
            taken = sclera_exchange_give_body(exchange, (const uint8_t *)data, length < wanted ? length : wanted, false);
            wanted -= taken;
            if (taken < length) {
                rv = apr_bucket_split(bucket, taken);
                if (rv != APR_SUCCESS) {
                    return HTTP_INTERNAL_SERVER_ERROR;
                }
                wanted = 0;
            }
        }
        apr_bucket_delete(bucket);
    }
    /* All of it was wanted, and it ended there: the connection can be kept alive. */
    if (!APR_BRIGADE_EMPTY(body) && APR_BUCKET_IS_EOS(APR_BRIGADE_FIRST(body))) {
        *complete = 1;
    }
    return OK;
}

/* The one line of a failed exchange; written before the browser can see the failure. */
static void csp_log_failure(request_rec *r, const sclera_exchange *exchange)
{
    sclera_failure failure = {.size = sizeof(failure)};

    if (sclera_exchange_failure(exchange, &failure)) {
        ap_log_rerror(APLOG_MARK, APLOG_ERR, 0, r, "%s", failure.message);
    }
}

static int csp_take_head(request_rec *r, sclera_exchange *exchange)
{
    sclera_response response = {.size = sizeof(response)};
    size_t i;

    if (sclera_exchange_response(exchange, &response) != SCLERA_OK) {
        ap_log_rerror(APLOG_MARK, APLOG_ERR, 0, r, "%s", sclera_last_error());
        return HTTP_INTERNAL_SERVER_ERROR;
    }
    r->status = response.status;
    r->status_line = response.reason.length
                         ? apr_psprintf(r->pool, "%d %.*s", r->status, (int)response.reason.length, response.reason.data)
                         : NULL;
    for (i = 0; i < response.header_count; i++) {
        char *name = csp_string(r->pool, response.headers[i].name);
        char *value = csp_string(r->pool, response.headers[i].value);

        if (!ap_cstr_casecmp(name, "Content-Type")) {
            ap_set_content_type(r, value);
        }
        else {
            apr_table_addn(r->headers_out, name, value);
        }
    }
    if (response.content_length >= 0) {
        ap_set_content_length(r, response.content_length);
    }
    return OK;
}

/* Passes on what has been gathered. Fails when the browser is gone. */
static int csp_pass(request_rec *r, apr_bucket_brigade *answer)
{
    apr_status_t rv = ap_pass_brigade(r->output_filters, answer);

    apr_brigade_cleanup(answer);
    return rv == APR_SUCCESS && !r->connection->aborted;
}

/* What arrived goes out; then the browser sees that the rest is missing, as mod_proxy does with a partial answer. */
static int csp_cut(request_rec *r, apr_bucket_brigade *answer)
{
    apr_bucket_alloc_t *alloc = r->connection->bucket_alloc;

    r->connection->keepalive = AP_CONN_CLOSE;
    APR_BRIGADE_INSERT_TAIL(answer, apr_bucket_flush_create(alloc));
    if (csp_pass(r, answer)) {
        APR_BRIGADE_INSERT_TAIL(answer, ap_bucket_error_create(HTTP_BAD_GATEWAY, NULL, r->pool, alloc));
        APR_BRIGADE_INSERT_TAIL(answer, apr_bucket_eos_create(alloc));
        csp_pass(r, answer);
    }
    return OK;
}

/* Drives the exchange to its end. OK also when the browser went away or the answer had to be cut off. */
static int csp_carry(request_rec *r, sclera_exchange *exchange, int has_body)
{
    apr_bucket_alloc_t *alloc = r->connection->bucket_alloc;
    apr_bucket_brigade *answer = apr_brigade_create(r->pool, alloc);
    apr_bucket_brigade *body = has_body ? apr_brigade_create(r->pool, alloc) : NULL;
    apr_table_t *others = NULL;
    apr_size_t gathered = 0;
    int body_complete = !has_body, head_known = 0, unflushed = 0, passed = 0, status;
    sclera_slice piece;

    for (;;) {
        switch (sclera_exchange_drive(exchange)) {
        case SCLERA_STEP_WAIT:
            if (unflushed) {
                APR_BRIGADE_INSERT_TAIL(answer, apr_bucket_flush_create(alloc));
                passed = 1;
                if (!csp_pass(r, answer)) {
                    return OK;
                }
                unflushed = 0;
                gathered = 0;
            }
            if (sclera_exchange_wait(exchange) != SCLERA_OK) {
                ap_log_rerror(APLOG_MARK, APLOG_ERR, 0, r, "%s", sclera_last_error());
                return head_known ? csp_cut(r, answer) : HTTP_INTERNAL_SERVER_ERROR;
            }
            break;

        case SCLERA_STEP_NEED_BODY:
            if (!has_body || body_complete) {
                sclera_exchange_give_body(exchange, NULL, 0, true);
                break;
            }
            status = csp_give_body(r, exchange, body, &body_complete);
            if (status != OK && !head_known) {
                return status;
            }
            if (status != OK) {
                r->connection->keepalive = AP_CONN_CLOSE;
                sclera_exchange_body_failed(exchange);
            }
            break;

        case SCLERA_STEP_HEAD:
            csp_log_failure(r, exchange);
            if (!others) { /* of other modules */
                others = apr_table_copy(r->pool, r->headers_out);
            }
            status = csp_take_head(r, exchange);
            if (status != OK) {
                return status;
            }
            if (!body_complete) {
                r->connection->keepalive = AP_CONN_CLOSE; /* rather than to read what the application did not want */
            }
            head_known = 1;
            unflushed = 1;
            break;

        case SCLERA_STEP_BODY:
            piece = sclera_exchange_body(exchange);
            if (gathered + piece.length < CSP_GATHER) {
                if (apr_brigade_write(answer, NULL, NULL, (const char *)piece.data, piece.length) != APR_SUCCESS) {
                    return OK;
                }
            }
            else {
                APR_BRIGADE_INSERT_TAIL(answer, apr_bucket_transient_create((const char *)piece.data, piece.length, alloc));
            }
            unflushed = 1;
            gathered += piece.length;
            if (gathered >= CSP_GATHER) {
                passed = 1;
                if (!csp_pass(r, answer)) {
                    return OK;
                }
                gathered = 0;
            }
            sclera_exchange_consume(exchange, piece.length);
            break;

        case SCLERA_STEP_DONE:
            APR_BRIGADE_INSERT_TAIL(answer, apr_bucket_eos_create(alloc));
            if (!r->sent_bodyct) {
                /* The whole answer, in one write and now: the browser's next request may be here before we look. */
                APR_BRIGADE_INSERT_TAIL(answer, apr_bucket_flush_create(alloc));
            }
            csp_pass(r, answer);
            return OK;

        case SCLERA_STEP_ABORT:
            if (!passed && sclera_exchange_retract(exchange) == SCLERA_OK) { /* nothing has left: an honest answer */
                apr_brigade_cleanup(answer);
                if (others) {
                    r->headers_out = apr_table_copy(r->pool, others);
                }
                gathered = 0;
                head_known = 0;
                break;
            }
            /* fall through */
        default:
            csp_log_failure(r, exchange);
            return head_known ? csp_cut(r, answer) : HTTP_INTERNAL_SERVER_ERROR;
        }
    }
}

/* The answer where nobody knows whether the request may pass; the log has said why. */
static int csp_undecided(request_rec *r, int status, const char *code)
{
    ap_custom_response(r, status, apr_psprintf(r->pool, "The page that decides on access to this address gave no decision%s."
                                               " The web server's error log says more.", code));
    return status;
}

/* Drives the exchange with the page of AuthCSPClass to the head of its answer. */
static int csp_judgement(request_rec *r, sclera_exchange *exchange, const char *page)
{
    sclera_response response = {.size = sizeof(response)};
    sclera_failure failure = {.size = sizeof(failure)};
    sclera_step step;
    size_t i;

    while ((step = sclera_exchange_drive(exchange)) != SCLERA_STEP_HEAD) {
        if (step == SCLERA_STEP_NEED_BODY) {
            sclera_exchange_give_body(exchange, NULL, 0, true);
        }
        else if (step != SCLERA_STEP_WAIT || sclera_exchange_wait(exchange) != SCLERA_OK) {
            break;
        }
    }
    csp_log_failure(r, exchange);
    if (sclera_exchange_failure(exchange, &failure)) {
        return csp_undecided(r, failure.http_status, apr_psprintf(r->pool, " (SCLERA-%u)", failure.code));
    }
    if (step != SCLERA_STEP_HEAD || sclera_exchange_response(exchange, &response) != SCLERA_OK) {
        ap_log_rerror(APLOG_MARK, APLOG_ERR, 0, r, "AuthCSPClass %s: %s", page, sclera_last_error());
        return csp_undecided(r, HTTP_INTERNAL_SERVER_ERROR, "");
    }
    if (response.status == HTTP_OK) {
        return OK;
    }
    if (response.status != HTTP_UNAUTHORIZED) {
        ap_log_rerror(APLOG_MARK, APLOG_ERR, 0, r, "AuthCSPClass %s: the page answered %d, which is neither 200 (the request "
                      "may pass) nor 401 (it may not); the request is refused", page, response.status);
        return csp_undecided(r, HTTP_INTERNAL_SERVER_ERROR, "");
    }
    apr_table_unset(r->err_headers_out, "WWW-Authenticate");
    for (i = 0; i < response.header_count; i++) {
        const char *name = csp_string(r->pool, response.headers[i].name);

        if (!ap_cstr_casecmp(name, "WWW-Authenticate")) {
            apr_table_addn(r->err_headers_out, name, csp_string(r->pool, response.headers[i].value));
        }
    }
    return HTTP_UNAUTHORIZED;
}

/* Asks the page of AuthCSPClass, if there is one, whether the request may pass. */
static int csp_ask_class(request_rec *r, sclera_worker *worker)
{
    const csp_dir_conf *conf = csp_conf_of(r);
    sclera_exchange *exchange = NULL;
    int status;

    if (!csp_asks_class(conf)) {
        return OK;
    }
    if (csp_begin(r, worker, conf->auth_class, 0, &exchange) != SCLERA_OK) {
        ap_log_rerror(APLOG_MARK, APLOG_ERR, 0, r, "AuthCSPClass %s: %s", conf->auth_class, sclera_last_error());
        return HTTP_INTERNAL_SERVER_ERROR;
    }
    csp_tell_id(r, exchange);
    status = csp_judgement(r, exchange, conf->auth_class);
    csp_tell_outcome(r, exchange);
    sclera_exchange_free(exchange);
    return status;
}

static int csp_serve(request_rec *r, csp_site *site)
{
    sclera_worker *worker = csp_worker(site);
    sclera_exchange *exchange = NULL;
    int64_t content_length;
    int status;

    if (!worker) {
        return HTTP_SERVICE_UNAVAILABLE;
    }
    status = csp_ask_class(r, worker);
    if (status != OK) {
        return status;
    }
    status = csp_setup_body(r, &content_length);
    if (status != OK) {
        return status;
    }
    if (csp_begin(r, worker, NULL, content_length, &exchange) != SCLERA_OK) {
        ap_log_rerror(APLOG_MARK, APLOG_ERR, 0, r, "%s", sclera_last_error());
        return HTTP_INTERNAL_SERVER_ERROR;
    }
    csp_tell_id(r, exchange);

    status = csp_carry(r, exchange, content_length != 0);
    csp_tell_outcome(r, exchange);

    sclera_exchange_free(exchange);
    return status;
}

static int csp_handler(request_rec *r)
{
    const csp_server_conf *conf;
    int status;

    if (!csp_is_our_handler(r->handler) || !csp_takes(r, r->handler)) {
        return DECLINED;
    }
    conf = ap_get_module_config(r->server->module_config, &csp_module_sa);
    if (!conf->site || !start_mutex) {
        ap_log_rerror(APLOG_MARK, APLOG_ERR, 0, r, "CSPConfigPath is not set for this server; set it to the directory that "
                      "holds CSP.ini");
        return HTTP_SERVICE_UNAVAILABLE;
    }
    apr_atomic_inc32(&threads_inside);
    status = csp_serve(r, conf->site);
    apr_atomic_dec32(&threads_inside);
    return status;
}
