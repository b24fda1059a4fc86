
/*
 * Sclera for nginx: translates between nginx and the C interface in sclera.h.
 *
 * The configuration cycle holds the gateway, a worker process holds the worker,
 * a request holds an exchange.  One function drives an exchange; events of the
 * superserver's socket, of the worker's wake descriptor, of the client and of
 * the clock all end there.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include <grp.h>
#include <sclera.h>


/* where InterSystems' kits and containers keep CSP.ini */
#define NGX_HTTP_SCLERA_CONFIG_PATH   "/opt/webgateway/bin"

/*
 * pieces of a response are gathered to spare system calls: small ones always,
 * large ones as long as the client takes all that it is sent
 */
#define NGX_HTTP_SCLERA_GATHER        2048
#define NGX_HTTP_SCLERA_GATHER_LARGE  16384

#define NGX_HTTP_SCLERA_FILE_PIECE    16384

/* a worker that shuts down waits for the timers of its requests */
#define NGX_HTTP_SCLERA_LONGEST       86400000


/*
 * A superserver's socket, not ours to close.  It stays watched while it rests
 * in the pool, which spares two system calls a request.  c->number is the
 * number by which the library tells it from others with the same descriptor,
 * c->data the request that uses it.
 */

typedef struct {
    ngx_connection_t            *connection;
    ino_t                        inode;
} ngx_http_sclera_link_t;


/* populated while parsing, the gateway in postconfiguration, the rest in the worker process */

typedef struct {
    ngx_str_t                    module_path;
    ngx_str_t                    config_path;
    ngx_uint_t                   used;
    ngx_uint_t                   noticed;         /* bit n: command n, which has no effect, was met */

    sclera_gateway              *gateway;
    ngx_uint_t                   sound;           /* CSP.ini and its files could be used */
    ngx_int_t                    request_id;      /* index of the variable, or NGX_ERROR */

    sclera_worker               *worker;
    ngx_connection_t            *wake;
    ngx_queue_t                  requests;        /* ngx_http_sclera_ctx_t */

    ngx_http_sclera_link_t      *links;           /* by descriptor */
    ngx_uint_t                   links_size;
    ngx_uint_t                   links_known;
    ngx_uint_t                   links_sweep;     /* this many are looked through for closed ones */
} ngx_http_sclera_main_conf_t;


typedef struct {
    ngx_flag_t                   enable;
    ngx_array_t                 *file_types;      /* ngx_str_t, without dots */
} ngx_http_sclera_loc_conf_t;


/* what logs say of a request when its exchange is gone; outlives an internal redirect, which loses the context */

typedef struct {
    ngx_http_request_t          *request;
    ngx_str_t                    id;
    ngx_str_t                    server;
    ngx_str_t                    code;
} ngx_http_sclera_facts_t;


/* one request; lives in its pool */

typedef struct {
    ngx_http_request_t          *request;
    ngx_http_sclera_facts_t     *facts;
    sclera_exchange             *exchange;
    ngx_http_cleanup_pt         *cleanup;
    ngx_queue_t                  queue;

    ngx_event_t                  event;           /* the exchange's deadline, or woken */
    ngx_connection_t            *link;
    uint32_t                     events;          /* that it shall tell */

    ngx_chain_t                 *in;              /* request body that was not given yet */
    ngx_buf_t                   *file;            /* a piece of it read from a file */

    ngx_buf_t                   *gather;
    ngx_buf_t                    piece;           /* borrowed from the exchange */
    off_t                        rest;            /* of Content-Length; -1 without one */

    unsigned                     bodiless:1;      /* whatever the headers say */
    unsigned                     head:1;          /* headers_out is filled */
    unsigned                     head_sent:1;
    unsigned                     last_sent:1;
    unsigned                     blocked:1;       /* output waits for the client */
    unsigned                     slow:1;          /* it did so before */
    unsigned                     need_body:1;     /* the exchange waits for the client's body */
} ngx_http_sclera_ctx_t;


typedef struct ngx_http_sclera_header_s  ngx_http_sclera_header_t;

typedef ngx_int_t (*ngx_http_sclera_header_pt)(ngx_http_request_t *r,
    ngx_http_sclera_header_t *header, ngx_str_t *name, ngx_str_t *value);

struct ngx_http_sclera_header_s {
    ngx_str_t                    name;
    ngx_http_sclera_header_pt    handler;
    ngx_uint_t                   offset;
};


/* the beginning of ngx_http_auth_basic_module's private location configuration */

typedef struct {
    ngx_http_complex_value_t    *realm;
} ngx_http_sclera_auth_basic_t;

extern ngx_module_t  ngx_http_auth_basic_module;


static char *ngx_http_sclera_enable(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static char *ngx_http_sclera_file_types(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static char *ngx_http_sclera_no_effect(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static char *ngx_sclera_thread_stack_size(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static void *ngx_http_sclera_create_main_conf(ngx_conf_t *cf);
static void *ngx_http_sclera_create_loc_conf(ngx_conf_t *cf);
static char *ngx_http_sclera_merge_loc_conf(ngx_conf_t *cf, void *parent,
    void *child);

static ngx_int_t ngx_http_sclera_preconfiguration(ngx_conf_t *cf);
static ngx_int_t ngx_http_sclera_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_http_sclera_note_request(ngx_http_sclera_ctx_t *ctx);
static void ngx_http_sclera_note_outcome(ngx_http_sclera_ctx_t *ctx);
static ngx_int_t ngx_http_sclera_copy(ngx_pool_t *pool, ngx_str_t *to,
    sclera_slice from);
static void ngx_http_sclera_facts_cleanup(void *data);
static ngx_int_t ngx_http_sclera_postconfiguration(ngx_conf_t *cf);
static ngx_int_t ngx_http_sclera_request_id_index(ngx_conf_t *cf);
static ngx_int_t ngx_http_sclera_options(ngx_conf_t *cf,
    ngx_http_sclera_main_conf_t *smcf, sclera_options *options);
static ngx_int_t ngx_http_sclera_check(ngx_conf_t *cf,
    sclera_options *options);
static ngx_int_t ngx_http_sclera_worker_user(ngx_conf_t *cf, sclera_user *user);
static ngx_int_t ngx_http_sclera_open(ngx_conf_t *cf,
    ngx_http_sclera_main_conf_t *smcf, sclera_options *options);
static ngx_uint_t ngx_http_sclera_was_sound(ngx_conf_t *cf);
static void ngx_http_sclera_free_gateway(void *data);
static void ngx_http_sclera_log_error(void *data, sclera_level level,
    const char *text, size_t length);
static void ngx_http_sclera_log(void *data, sclera_level level,
    const char *text, size_t length);

static ngx_int_t ngx_http_sclera_init_process(ngx_cycle_t *cycle);
static ngx_int_t ngx_http_sclera_watch_wake(ngx_cycle_t *cycle,
    ngx_http_sclera_main_conf_t *smcf);
static void ngx_http_sclera_wake_handler(ngx_event_t *ev);
static void ngx_http_sclera_exit_process(ngx_cycle_t *cycle);

static ngx_int_t ngx_http_sclera_handler(ngx_http_request_t *r);
static ngx_uint_t ngx_http_sclera_is_ours(ngx_http_request_t *r);
static void ngx_http_sclera_begin(ngx_http_request_t *r);
static void ngx_http_sclera_begin_without_body(ngx_http_request_t *r);
static void ngx_http_sclera_start(ngx_http_request_t *r, ngx_uint_t bodiless);
static ngx_int_t ngx_http_sclera_translate(ngx_http_sclera_ctx_t *ctx,
    sclera_request *request);
static ngx_int_t ngx_http_sclera_request_headers(ngx_http_sclera_ctx_t *ctx,
    sclera_request *request);
static ngx_int_t ngx_http_sclera_target(ngx_http_request_t *r,
    sclera_slice *target);
static ngx_int_t ngx_http_sclera_user(ngx_http_request_t *r,
    sclera_request *request);
static ngx_int_t ngx_http_sclera_take_body(ngx_http_sclera_ctx_t *ctx,
    sclera_request *request);

static void ngx_http_sclera_drive(ngx_http_sclera_ctx_t *ctx);
static void ngx_http_sclera_drive_from_event(ngx_http_sclera_ctx_t *ctx);
static void ngx_http_sclera_event_handler(ngx_event_t *ev);
static void ngx_http_sclera_link_handler(ngx_event_t *ev);
static void ngx_http_sclera_read_handler(ngx_http_request_t *r);
static void ngx_http_sclera_write_handler(ngx_http_request_t *r);

static ngx_int_t ngx_http_sclera_watch(ngx_http_sclera_ctx_t *ctx);
static ngx_connection_t *ngx_http_sclera_get_link(
    ngx_http_sclera_main_conf_t *smcf, sclera_wants *wants);
static ngx_http_sclera_link_t *ngx_http_sclera_link_slot(
    ngx_http_sclera_main_conf_t *smcf, ngx_uint_t fd);
static void ngx_http_sclera_sweep_links(ngx_http_sclera_main_conf_t *smcf);
static void ngx_http_sclera_leave_link(ngx_http_sclera_ctx_t *ctx);
static void ngx_http_sclera_forget_link(ngx_http_sclera_main_conf_t *smcf,
    ngx_connection_t *c, ngx_uint_t closed);
static ngx_int_t ngx_http_sclera_watch_link(ngx_http_sclera_ctx_t *ctx);

static ngx_int_t ngx_http_sclera_give_body(ngx_http_sclera_ctx_t *ctx);
static ngx_int_t ngx_http_sclera_give_buf(ngx_http_sclera_ctx_t *ctx,
    ngx_buf_t *b, ngx_uint_t last);

static ngx_int_t ngx_http_sclera_head(ngx_http_sclera_ctx_t *ctx);
static ngx_int_t ngx_http_sclera_response_headers(ngx_http_request_t *r,
    sclera_response *response);
static ngx_int_t ngx_http_sclera_body(ngx_http_sclera_ctx_t *ctx);
static ngx_int_t ngx_http_sclera_make_room(ngx_http_sclera_ctx_t *ctx,
    size_t length);
static void ngx_http_sclera_free_gather(ngx_http_sclera_ctx_t *ctx);
static ngx_int_t ngx_http_sclera_send_head(ngx_http_sclera_ctx_t *ctx);
static ngx_int_t ngx_http_sclera_flush(ngx_http_sclera_ctx_t *ctx);
static ngx_int_t ngx_http_sclera_output(ngx_http_sclera_ctx_t *ctx,
    ngx_chain_t *out);
static ngx_int_t ngx_http_sclera_drained(ngx_http_sclera_ctx_t *ctx);
static ngx_int_t ngx_http_sclera_await_client(ngx_http_request_t *r);
static void ngx_http_sclera_mark_last(ngx_http_request_t *r, ngx_buf_t *b);

static void ngx_http_sclera_done(ngx_http_sclera_ctx_t *ctx);
static void ngx_http_sclera_begin_anew(ngx_http_sclera_ctx_t *ctx);
static void ngx_http_sclera_abort(ngx_http_sclera_ctx_t *ctx);
static void ngx_http_sclera_finalize(ngx_http_sclera_ctx_t *ctx, ngx_int_t rc);
static void ngx_http_sclera_release(ngx_http_sclera_ctx_t *ctx);
static void ngx_http_sclera_cleanup(void *data);
static void ngx_http_sclera_free_exchange(void *data);

static ngx_table_elt_t *ngx_http_sclera_add_header(ngx_http_request_t *r,
    ngx_str_t *name, ngx_str_t *value);
static ngx_int_t ngx_http_sclera_push_header(ngx_http_request_t *r,
    ngx_http_sclera_header_t *header, ngx_str_t *name, ngx_str_t *value);
static ngx_int_t ngx_http_sclera_hide_header(ngx_http_request_t *r,
    ngx_http_sclera_header_t *header, ngx_str_t *name, ngx_str_t *value);
static ngx_int_t ngx_http_sclera_content_type(ngx_http_request_t *r,
    ngx_http_sclera_header_t *header, ngx_str_t *name, ngx_str_t *value);
static ngx_int_t ngx_http_sclera_location(ngx_http_request_t *r,
    ngx_http_sclera_header_t *header, ngx_str_t *name, ngx_str_t *value);
static ngx_int_t ngx_http_sclera_cache_control(ngx_http_request_t *r,
    ngx_http_sclera_header_t *header, ngx_str_t *name, ngx_str_t *value);


static ngx_command_t  ngx_http_sclera_commands[] = {

    { ngx_string("CSP"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_HTTP_LIF_CONF
                        |NGX_CONF_FLAG,
      ngx_http_sclera_enable,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_sclera_loc_conf_t, enable),
      NULL },

    { ngx_string("CSPFileTypes"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_HTTP_LIF_CONF
                        |NGX_CONF_1MORE,
      ngx_http_sclera_file_types,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("CSPModulePath"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_str_slot,
      NGX_HTTP_MAIN_CONF_OFFSET,
      offsetof(ngx_http_sclera_main_conf_t, module_path),
      NULL },

    { ngx_string("CSPConfigPath"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_str_slot,
      NGX_HTTP_MAIN_CONF_OFFSET,
      offsetof(ngx_http_sclera_main_conf_t, config_path),
      NULL },

    { ngx_string("CSPNSD_pass"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_1MORE,
      ngx_http_sclera_no_effect,
      0,
      0,
      NULL },

    { ngx_string("CSPNSD_response_headers_maxsize"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_1MORE,
      ngx_http_sclera_no_effect,
      0,
      0,
      NULL },

    { ngx_string("CSPNSD_connect_timeout"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_1MORE,
      ngx_http_sclera_no_effect,
      0,
      0,
      NULL },

    { ngx_string("CSPNSD_send_timeout"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_1MORE,
      ngx_http_sclera_no_effect,
      0,
      0,
      NULL },

    /* so printed in the vendor's guide */
    { ngx_string("CSP_send_timeout"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_1MORE,
      ngx_http_sclera_no_effect,
      0,
      0,
      NULL },

    { ngx_string("CSPNSD_read_timeout"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_1MORE,
      ngx_http_sclera_no_effect,
      0,
      0,
      NULL },

      ngx_null_command
};


static ngx_http_variable_t  ngx_http_sclera_variables[] = {

    { ngx_string("sclera_request_id"), NULL, ngx_http_sclera_variable,
      offsetof(ngx_http_sclera_facts_t, id), NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("sclera_server"), NULL, ngx_http_sclera_variable,
      offsetof(ngx_http_sclera_facts_t, server), NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("sclera_code"), NULL, ngx_http_sclera_variable,
      offsetof(ngx_http_sclera_facts_t, code), NGX_HTTP_VAR_NOCACHEABLE, 0 },

      ngx_http_null_variable
};


static ngx_http_module_t  ngx_http_sclera_module_ctx = {
    ngx_http_sclera_preconfiguration,      /* preconfiguration */
    ngx_http_sclera_postconfiguration,     /* postconfiguration */

    ngx_http_sclera_create_main_conf,      /* create main configuration */
    NULL,                                  /* init main configuration */

    NULL,                                  /* create server configuration */
    NULL,                                  /* merge server configuration */

    ngx_http_sclera_create_loc_conf,       /* create location configuration */
    ngx_http_sclera_merge_loc_conf         /* merge location configuration */
};


ngx_module_t  ngx_http_sclera_module = {
    NGX_MODULE_V1,
    &ngx_http_sclera_module_ctx,           /* module context */
    ngx_http_sclera_commands,              /* module directives */
    NGX_HTTP_MODULE,                       /* module type */
    NULL,                                  /* init master */
    NULL,                                  /* init module */
    ngx_http_sclera_init_process,          /* init process */
    NULL,                                  /* init thread */
    NULL,                                  /* exit thread */
    ngx_http_sclera_exit_process,          /* exit process */
    NULL,                                  /* exit master */
    NGX_MODULE_V1_PADDING
};


/* a directive of the vendor's build for Windows; the top level is not a module of http's to speak in */

static ngx_command_t  ngx_sclera_core_commands[] = {

    { ngx_string("thread_stack_size"),
      NGX_MAIN_CONF|NGX_DIRECT_CONF|NGX_CONF_TAKE1,
      ngx_sclera_thread_stack_size,
      0,
      0,
      NULL },

      ngx_null_command
};


static ngx_core_module_t  ngx_sclera_core_module_ctx = {
    ngx_string("sclera"),
    NULL,
    NULL
};


ngx_module_t  ngx_sclera_core_module = {
    NGX_MODULE_V1,
    &ngx_sclera_core_module_ctx,           /* module context */
    ngx_sclera_core_commands,              /* module directives */
    NGX_CORE_MODULE,                       /* module type */
    NULL,                                  /* init master */
    NULL,                                  /* init module */
    NULL,                                  /* init process */
    NULL,                                  /* init thread */
    NULL,                                  /* exit thread */
    NULL,                                  /* exit process */
    NULL,                                  /* exit master */
    NGX_MODULE_V1_PADDING
};


/* headers of a response that nginx's filters want to know; every other one is pushed as it is */

static ngx_http_sclera_header_t  ngx_http_sclera_headers[] = {

    { ngx_string("Content-Type"), ngx_http_sclera_content_type, 0 },

    { ngx_string("Location"), ngx_http_sclera_location, 0 },

    { ngx_string("Cache-Control"), ngx_http_sclera_cache_control, 0 },

    { ngx_string("Last-Modified"), ngx_http_sclera_push_header,
      offsetof(ngx_http_headers_out_t, last_modified) },

    { ngx_string("ETag"), ngx_http_sclera_push_header,
      offsetof(ngx_http_headers_out_t, etag) },

    { ngx_string("Expires"), ngx_http_sclera_push_header,
      offsetof(ngx_http_headers_out_t, expires) },

    { ngx_string("Content-Encoding"), ngx_http_sclera_push_header,
      offsetof(ngx_http_headers_out_t, content_encoding) },

    { ngx_string("Content-Range"), ngx_http_sclera_push_header,
      offsetof(ngx_http_headers_out_t, content_range) },

    { ngx_string("Accept-Ranges"), ngx_http_sclera_push_header,
      offsetof(ngx_http_headers_out_t, accept_ranges) },

    { ngx_string("WWW-Authenticate"), ngx_http_sclera_push_header,
      offsetof(ngx_http_headers_out_t, www_authenticate) },

    /* nginx's own stand here, as in front of any backend */

    { ngx_string("Date"), ngx_http_sclera_hide_header, 0 },

    { ngx_string("Server"), ngx_http_sclera_hide_header, 0 },

    { ngx_null_string, NULL, 0 }
};


static char *
ngx_http_sclera_enable(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_sclera_loc_conf_t  *slcf = conf;

    char                         *rv;
    ngx_http_sclera_main_conf_t  *smcf;

    rv = ngx_conf_set_flag_slot(cf, cmd, conf);
    if (rv != NGX_CONF_OK) {
        return rv;
    }

    if (slcf->enable) {
        smcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_sclera_module);
        smcf->used = 1;
    }

    return NGX_CONF_OK;
}


static char *
ngx_http_sclera_file_types(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_sclera_loc_conf_t  *slcf = conf;

    ngx_str_t                    *value, *type;
    ngx_uint_t                    i;
    ngx_http_sclera_main_conf_t  *smcf;

    if (slcf->file_types == NGX_CONF_UNSET_PTR) {
        slcf->file_types = ngx_array_create(cf->pool, cf->args->nelts,
                                            sizeof(ngx_str_t));
        if (slcf->file_types == NULL) {
            return NGX_CONF_ERROR;
        }
    }

    value = cf->args->elts;

    for (i = 1; i < cf->args->nelts; i++) {
        type = ngx_array_push(slcf->file_types);
        if (type == NULL) {
            return NGX_CONF_ERROR;
        }

        *type = value[i];

        if (type->len && type->data[0] == '.') {
            type->data++;
            type->len--;
        }

        if (type->len == 0
            || ngx_strlchr(type->data, type->data + type->len, '.')
            || ngx_strlchr(type->data, type->data + type->len, '/'))
        {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid value \"%V\" in \"%V\" directive, "
                               "it must be an extension such as cls, or \"*\"",
                               &value[i], &cmd->name);
            return NGX_CONF_ERROR;
        }
    }

    smcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_sclera_module);
    smcf->used = 1;

    return NGX_CONF_OK;
}


static char *
ngx_http_sclera_no_effect(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_uint_t                    bit;
    ngx_http_sclera_main_conf_t  *smcf;

    smcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_sclera_module);

    bit = (ngx_uint_t) 1 << (cmd - ngx_http_sclera_commands);

    if (smcf->noticed & bit) {
        return NGX_CONF_OK;
    }

    smcf->noticed |= bit;

    ngx_conf_log_error(NGX_LOG_NOTICE, cf, 0,
                       "the \"%V\" directive has no effect: nginx talks to the "
                       "superservers of CSP.ini itself, without an NSD",
                       &cmd->name);

    return NGX_CONF_OK;
}


static char *
ngx_sclera_thread_stack_size(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_conf_log_error(NGX_LOG_NOTICE, cf, 0,
                       "the \"%V\" directive has no effect: requests need no "
                       "threads of their own", &cmd->name);

    return NGX_CONF_OK;
}


static void *
ngx_http_sclera_create_main_conf(ngx_conf_t *cf)
{
    ngx_http_sclera_main_conf_t  *smcf;

    smcf = ngx_pcalloc(cf->pool, sizeof(ngx_http_sclera_main_conf_t));
    if (smcf == NULL) {
        return NULL;
    }

    /*
     * set by ngx_pcalloc():
     *
     *     smcf->module_path = { 0, NULL };
     *     smcf->config_path = { 0, NULL };
     *     smcf->used = 0;
     *     smcf->noticed = 0;
     *     smcf->gateway = NULL;
     *     smcf->sound = 0;
     *     smcf->worker = NULL;
     *     smcf->wake = NULL;
     *     smcf->links = NULL;
     *     smcf->links_size = 0;
     *     smcf->links_known = 0;
     *     smcf->links_sweep = 0;
     */

    smcf->request_id = NGX_ERROR;
    ngx_queue_init(&smcf->requests);

    return smcf;
}


static void *
ngx_http_sclera_create_loc_conf(ngx_conf_t *cf)
{
    ngx_http_sclera_loc_conf_t  *slcf;

    slcf = ngx_palloc(cf->pool, sizeof(ngx_http_sclera_loc_conf_t));
    if (slcf == NULL) {
        return NULL;
    }

    slcf->enable = NGX_CONF_UNSET;
    slcf->file_types = NGX_CONF_UNSET_PTR;

    return slcf;
}


static char *
ngx_http_sclera_merge_loc_conf(ngx_conf_t *cf, void *parent, void *child)
{
    ngx_http_sclera_loc_conf_t *prev = parent;
    ngx_http_sclera_loc_conf_t *conf = child;

    /*
     * "CSP off" carves out everything below it, until a nearer section speaks
     * of its file types; where "CSP" is not set, the file types decide
     */

    if (conf->file_types == NGX_CONF_UNSET_PTR || prev->enable == 1) {
        ngx_conf_merge_value(conf->enable, prev->enable, NGX_CONF_UNSET);
    }

    ngx_conf_merge_ptr_value(conf->file_types, prev->file_types,
                             NGX_CONF_UNSET_PTR);

    return NGX_CONF_OK;
}


static ngx_int_t
ngx_http_sclera_preconfiguration(ngx_conf_t *cf)
{
    ngx_http_variable_t  *var, *v;

    if (sclera_abi() != SCLERA_ABI) {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "sclera: this module was built for ABI %d of "
                      "libsclera, the one loaded (%s) has ABI %uD: "
                      "install module and library of the same release",
                      SCLERA_ABI, sclera_version(), sclera_abi());
        return NGX_ERROR;
    }

    for (v = ngx_http_sclera_variables; v->name.len; v++) {

        var = ngx_http_add_variable(cf, &v->name, v->flags);
        if (var == NULL) {
            return NGX_ERROR;
        }

        var->get_handler = v->get_handler;
        var->data = v->data;
    }

    return NGX_OK;
}


/* data is the offset of a string in the facts */

static ngx_int_t
ngx_http_sclera_variable(ngx_http_request_t *r, ngx_http_variable_value_t *v,
    uintptr_t data)
{
    ngx_str_t                *value;
    ngx_pool_cleanup_t       *cln;
    ngx_http_sclera_facts_t  *facts;

    v->not_found = 1;

    for (cln = r->pool->cleanup; cln; cln = cln->next) {

        if (cln->handler != ngx_http_sclera_facts_cleanup) {
            continue;
        }

        facts = cln->data;

        if (facts->request != r) {
            continue;
        }

        value = (ngx_str_t *) ((char *) facts + data);

        if (value->len) {
            v->not_found = 0;
            v->valid = 1;
            v->no_cacheable = 0;
            v->data = value->data;
            v->len = value->len;
        }

        break;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_sclera_note_request(ngx_http_sclera_ctx_t *ctx)
{
    ngx_pool_cleanup_t  *cln;

    cln = ngx_pool_cleanup_add(ctx->request->pool,
                               sizeof(ngx_http_sclera_facts_t));
    if (cln == NULL) {
        return NGX_ERROR;
    }

    ctx->facts = cln->data;
    ngx_memzero(ctx->facts, sizeof(ngx_http_sclera_facts_t));

    ctx->facts->request = ctx->request;
    cln->handler = ngx_http_sclera_facts_cleanup;

    return ngx_http_sclera_copy(ctx->request->pool, &ctx->facts->id,
                                sclera_exchange_request_id(ctx->exchange));
}


/* without memory the log has one value less */

static void
ngx_http_sclera_note_outcome(ngx_http_sclera_ctx_t *ctx)
{
    u_char          *p;
    ngx_pool_t      *pool;
    sclera_slice     server;
    sclera_failure   failure;

    if (ctx->facts == NULL) {
        return;
    }

    pool = ctx->request->pool;
    server = sclera_exchange_server(ctx->exchange);

    if (ctx->facts->server.len != server.length
        || ngx_memcmp(ctx->facts->server.data, server.data, server.length) != 0)
    {
        (void) ngx_http_sclera_copy(pool, &ctx->facts->server, server);
    }

    failure.size = sizeof(sclera_failure);

    if (ctx->facts->code.len
        || !sclera_exchange_failure(ctx->exchange, &failure))
    {
        return;
    }

    p = ngx_pnalloc(pool, sizeof("SCLERA-") - 1 + NGX_INT32_LEN);
    if (p == NULL) {
        return;
    }

    ctx->facts->code.data = p;
    ctx->facts->code.len = ngx_sprintf(p, "SCLERA-%uD", failure.code) - p;
}


static ngx_int_t
ngx_http_sclera_copy(ngx_pool_t *pool, ngx_str_t *to, sclera_slice from)
{
    ngx_str_t  s;

    s.data = (u_char *) from.data;
    s.len = from.length;

    to->len = 0;
    to->data = ngx_pstrdup(pool, &s);

    if (to->data == NULL) {
        return NGX_ERROR;
    }

    to->len = s.len;

    return NGX_OK;
}


/* marks the facts among a request's cleanups */

static void
ngx_http_sclera_facts_cleanup(void *data)
{
}


static ngx_int_t
ngx_http_sclera_postconfiguration(ngx_conf_t *cf)
{
    sclera_options                options;
    ngx_http_handler_pt          *h;
    ngx_http_core_main_conf_t    *cmcf;
    ngx_http_sclera_main_conf_t  *smcf;

    smcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_sclera_module);

    if (!smcf->used || ngx_process == NGX_PROCESS_SIGNALLER) {
        return NGX_OK;
    }

    cmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_core_module);

    h = ngx_array_push(&cmcf->phases[NGX_HTTP_CONTENT_PHASE].handlers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    *h = ngx_http_sclera_handler;

    smcf->request_id = ngx_http_sclera_request_id_index(cf);

    if (ngx_http_sclera_options(cf, smcf, &options) != NGX_OK) {
        return NGX_ERROR;
    }

    if (ngx_test_config) {

        if (ngx_http_sclera_check(cf, &options) == NGX_OK) {
            return NGX_OK;
        }

        ngx_log_error(NGX_LOG_EMERG, cf->log, 0, "sclera: %s",
                      sclera_last_error());
        return NGX_ERROR;
    }

    return ngx_http_sclera_open(cf, smcf, &options);
}


/*
 * The index of $request_id if the configuration uses it: then both logs and
 * the error page shall name a request alike.  Otherwise nobody would see it,
 * and making one has its price.
 */

static ngx_int_t
ngx_http_sclera_request_id_index(ngx_conf_t *cf)
{
    ngx_uint_t                  i;
    ngx_http_variable_t        *v;
    ngx_http_core_main_conf_t  *cmcf;

    static ngx_str_t  name = ngx_string("request_id");

    cmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_core_module);

    v = cmcf->variables.elts;

    for (i = 0; i < cmcf->variables.nelts; i++) {
        if (v[i].name.len == name.len
            && ngx_strncasecmp(v[i].name.data, name.data, name.len) == 0)
        {
            return i;
        }
    }

    return NGX_ERROR;
}


static ngx_int_t
ngx_http_sclera_options(ngx_conf_t *cf, ngx_http_sclera_main_conf_t *smcf,
    sclera_options *options)
{
    ngx_str_t  path;

    path = smcf->config_path;

    if (path.len == 0) {
        path = smcf->module_path;
    }

    if (path.len == 0) {
        ngx_str_set(&path, NGX_HTTP_SCLERA_CONFIG_PATH);
    }

    if (ngx_conf_full_name(cf->cycle, &path, 1) != NGX_OK) {
        return NGX_ERROR;
    }

    ngx_memzero(options, sizeof(sclera_options));

    options->size = sizeof(sclera_options);
    options->abi = SCLERA_ABI;
    options->config_path = (char *) path.data;
    options->host_software = NGINX_VER;
    options->log = ngx_http_sclera_log;
    options->log_userdata = cf->cycle;
    options->first_start = ngx_is_init_cycle(cf->cycle->old_cycle);

    return NGX_OK;
}


/* sclera_last_error() tells why not */

static ngx_int_t
ngx_http_sclera_check(ngx_conf_t *cf, sclera_options *options)
{
    sclera_user  user, *worker_user;

    /* a worker of an unprivileged nginx is who we are */
    worker_user = NULL;

    if (geteuid() == 0) {
        if (ngx_http_sclera_worker_user(cf, &user) != NGX_OK) {
            return NGX_ERROR;
        }

        worker_user = &user;
    }

    return sclera_check(options, worker_user) == SCLERA_OK ? NGX_OK : NGX_ERROR;
}


static ngx_int_t
ngx_http_sclera_worker_user(ngx_conf_t *cf, sclera_user *user)
{
    int               n;
    char             *name;
    gid_t            *groups;
    struct group     *grp;
    struct passwd    *pwd;
    ngx_core_conf_t  *ccf;

    ccf = (ngx_core_conf_t *) ngx_get_conf(cf->cycle->conf_ctx,
                                           ngx_core_module);

    ngx_memzero(user, sizeof(sclera_user));

    user->size = sizeof(sclera_user);
    user->uid = ccf->user;
    user->gid = ccf->group;
    name = ccf->username;

    if (ccf->user == (ngx_uid_t) NGX_CONF_UNSET_UINT) {

        /* nginx sets its default only after the whole file has been read */

        pwd = getpwnam(NGX_USER);
        grp = getgrnam(NGX_GROUP);

        if (pwd == NULL || grp == NULL) {
            ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                          "sclera: there is no user \"" NGX_USER "\" or no "
                          "group \"" NGX_GROUP "\"");
            return NGX_ERROR;
        }

        user->uid = pwd->pw_uid;
        user->gid = grp->gr_gid;
        name = NGX_USER;
    }

    n = 0;
    (void) getgrouplist(name, user->gid, NULL, &n);

    groups = ngx_palloc(cf->pool, (n + 1) * sizeof(gid_t));
    if (groups == NULL) {
        return NGX_ERROR;
    }

    if (getgrouplist(name, user->gid, groups, &n) == -1) {
        n = 0;
    }

    user->groups = groups;
    user->group_count = n;

    return NGX_OK;
}


/*
 * A start does not fail because of CSP.ini or certificates: the requests then
 * get 503 and the reason's code.  A reload that finds them unusable leaves the
 * old configuration in force, if that was better.
 */

static ngx_int_t
ngx_http_sclera_open(ngx_conf_t *cf, ngx_http_sclera_main_conf_t *smcf,
    sclera_options *options)
{
    const char          *problem;
    sclera_user          user;
    sclera_options       check;
    ngx_pool_cleanup_t  *cln;

    check = *options;
    check.log = NULL;

    if (ngx_http_sclera_was_sound(cf)) {
        check.log = ngx_http_sclera_log_error;
    }

    smcf->sound = (ngx_http_sclera_check(cf, &check) == NGX_OK);

    if (!smcf->sound && ngx_http_sclera_was_sound(cf)) {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "sclera: %s; the old configuration stays in force",
                      sclera_last_error());
        return NGX_ERROR;
    }

    cln = ngx_pool_cleanup_add(cf->cycle->pool, 0);
    if (cln == NULL) {
        return NGX_ERROR;
    }

    if (geteuid() == 0) {

        if (ngx_http_sclera_worker_user(cf, &user) != NGX_OK) {
            return NGX_ERROR;
        }

        options->workers = &user;
    }

    if (sclera_gateway_open(options, &smcf->gateway) != SCLERA_OK) {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0, "sclera: %s",
                      sclera_last_error());
        return NGX_ERROR;
    }

    cln->handler = ngx_http_sclera_free_gateway;
    cln->data = smcf->gateway;

    problem = sclera_gateway_problem(smcf->gateway);

    if (problem == NULL) {
        return NGX_OK;
    }

    if (!ngx_is_init_cycle(cf->cycle->old_cycle)) {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "sclera: %s; the old configuration stays in force",
                      problem);
        return NGX_ERROR;
    }

    ngx_log_error(NGX_LOG_ALERT, cf->log, 0,
                  "sclera: %s; requests will be answered with 503 until "
                  "this is mended and nginx reloaded", problem);

    return NGX_OK;
}


/* whether the configuration in force, at a reload, had nothing to complain of */

static ngx_uint_t
ngx_http_sclera_was_sound(ngx_conf_t *cf)
{
    ngx_uint_t                    i;
    ngx_cycle_t                  *old;
    ngx_http_sclera_main_conf_t  *smcf;

    old = cf->cycle->old_cycle;

    if (ngx_is_init_cycle(old)) {
        return 0;
    }

    /* only a module that was there has a configuration there */

    for (i = 0; old->modules[i]; i++) {

        if (old->modules[i] == &ngx_http_sclera_module) {
            smcf = ngx_http_cycle_get_module_main_conf(old,
                                                       ngx_http_sclera_module);
            return smcf != NULL && smcf->sound;
        }
    }

    return 0;
}


static void
ngx_http_sclera_free_gateway(void *data)
{
    sclera_gateway_free(data);
}


static void
ngx_http_sclera_log_error(void *data, sclera_level level, const char *text,
    size_t length)
{
    if (level == SCLERA_LEVEL_ERROR) {
        ngx_http_sclera_log(data, level, text, length);
    }
}


/* any thread: nothing but the cycle's log is touched */

static void
ngx_http_sclera_log(void *data, sclera_level level, const char *text,
    size_t length)
{
    ngx_cycle_t *cycle = data;

    ngx_uint_t  log_level;

    switch (level) {

    case SCLERA_LEVEL_ERROR:
        log_level = NGX_LOG_ERR;
        break;

    case SCLERA_LEVEL_WARNING:
        log_level = NGX_LOG_WARN;
        break;

    case SCLERA_LEVEL_NOTICE:
        log_level = NGX_LOG_NOTICE;
        break;

    default: /* SCLERA_LEVEL_INFO, SCLERA_LEVEL_DEBUG */
        log_level = NGX_LOG_INFO;
    }

    ngx_log_error(log_level, cycle->log, 0, "sclera: %*s", length, text);
}


static ngx_int_t
ngx_http_sclera_init_process(ngx_cycle_t *cycle)
{
    ngx_http_sclera_main_conf_t  *smcf;

    smcf = ngx_http_cycle_get_module_main_conf(cycle, ngx_http_sclera_module);

    if (smcf == NULL || smcf->gateway == NULL
        || (ngx_process != NGX_PROCESS_WORKER
            && ngx_process != NGX_PROCESS_SINGLE))
    {
        return NGX_OK;
    }

    if (sclera_worker_start(smcf->gateway, &smcf->worker) != SCLERA_OK) {
        ngx_log_error(NGX_LOG_ALERT, cycle->log, 0,
                      "sclera: %s; requests to this process will be answered "
                      "with 503", sclera_last_error());
        return NGX_OK;
    }

    if (ngx_http_sclera_watch_wake(cycle, smcf) != NGX_OK) {
        sclera_worker_stop(smcf->worker);
        smcf->worker = NULL;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_sclera_watch_wake(ngx_cycle_t *cycle,
    ngx_http_sclera_main_conf_t *smcf)
{
    ngx_connection_t  *c;

    c = ngx_get_connection(sclera_worker_wake_fd(smcf->worker), cycle->log);
    if (c == NULL) {
        return NGX_ERROR;
    }

    c->data = smcf;
    c->read->handler = ngx_http_sclera_wake_handler;
    c->read->log = cycle->log;
    c->write->log = cycle->log;

    /* like the channel to the master: no client's connection left open */
    c->read->channel = 1;

    if (ngx_add_event(c->read, NGX_READ_EVENT, NGX_LEVEL_EVENT) != NGX_OK) {
        ngx_free_connection(c);
        c->fd = (ngx_socket_t) -1;
        return NGX_ERROR;
    }

    smcf->wake = c;

    return NGX_OK;
}


static void
ngx_http_sclera_wake_handler(ngx_event_t *ev)
{
    size_t                        i, n;
    void                         *woken[64];
    ngx_connection_t             *c;
    ngx_http_sclera_ctx_t        *ctx;
    ngx_http_sclera_main_conf_t  *smcf;

    c = ev->data;
    smcf = c->data;

    /* posted, because driving one request may end another */

    do {
        n = sclera_worker_drive(smcf->worker, woken, 64);

        for (i = 0; i < n; i++) {
            ctx = woken[i];
            ngx_post_event(&ctx->event, &ngx_posted_events);
        }

    } while (n == 64);
}


static void
ngx_http_sclera_exit_process(ngx_cycle_t *cycle)
{
    ngx_uint_t                    i;
    ngx_queue_t                  *q;
    ngx_connection_t             *c;
    ngx_http_sclera_ctx_t        *ctx;
    ngx_http_sclera_main_conf_t  *smcf;

    smcf = ngx_http_cycle_get_module_main_conf(cycle, ngx_http_sclera_module);

    if (smcf == NULL || smcf->worker == NULL) {
        return;
    }

    /* a fast shutdown leaves requests */

    while (!ngx_queue_empty(&smcf->requests)) {
        q = ngx_queue_head(&smcf->requests);
        ctx = ngx_queue_data(q, ngx_http_sclera_ctx_t, queue);
        ngx_http_sclera_release(ctx);
    }

    for (i = 0; i < smcf->links_size; i++) {
        c = smcf->links[i].connection;

        if (c) {
            ngx_http_sclera_forget_link(smcf, c, 1);
        }
    }

    ngx_free(smcf->links);
    smcf->links = NULL;
    smcf->links_size = 0;

    (void) ngx_del_event(smcf->wake->read, NGX_READ_EVENT, 0);
    ngx_free_connection(smcf->wake);
    smcf->wake->fd = (ngx_socket_t) -1;
    smcf->wake = NULL;

    sclera_worker_stop(smcf->worker);
    smcf->worker = NULL;
}


static ngx_int_t
ngx_http_sclera_handler(ngx_http_request_t *r)
{
    ngx_int_t                     rc;
    ngx_http_sclera_main_conf_t  *smcf;

    if (!ngx_http_sclera_is_ours(r)) {
        return NGX_DECLINED;
    }

    smcf = ngx_http_get_module_main_conf(r, ngx_http_sclera_module);

    if (smcf->worker == NULL) {
        return NGX_HTTP_SERVICE_UNAVAILABLE;
    }

    /* nothing may run the phases again meanwhile */
    r->write_event_handler = ngx_http_request_empty_handler;

    if (r == r->main && r->request_body == NULL
        && r->headers_in.content_length_n <= 0 && !r->headers_in.chunked)
    {
        r->main->count++;
        ngx_http_sclera_begin(r);

        return NGX_DONE;
    }

    if (r->request_body && r->request_body_no_buffering) {

        /*
         * an error page: whoever failed was given a part of the body, and
         * what is left would be taken for the whole
         */

        r->main->count++;
        ngx_http_sclera_begin_without_body(r);

        return NGX_DONE;
    }

    r->request_body_no_buffering = 1;

    rc = ngx_http_read_client_request_body(r, ngx_http_sclera_begin);

    if (rc >= NGX_HTTP_SPECIAL_RESPONSE) {
        return rc;
    }

    return NGX_DONE;
}


static ngx_uint_t
ngx_http_sclera_is_ours(ngx_http_request_t *r)
{
    ngx_str_t                   *type;
    ngx_uint_t                   i;
    ngx_http_sclera_loc_conf_t  *slcf;

    slcf = ngx_http_get_module_loc_conf(r, ngx_http_sclera_module);

    if (slcf->enable != NGX_CONF_UNSET) {
        return slcf->enable;
    }

    if (slcf->file_types == NGX_CONF_UNSET_PTR || r->exten.len == 0) {
        return 0;
    }

    type = slcf->file_types->elts;

    for (i = 0; i < slcf->file_types->nelts; i++) {

        if (type[i].len == 1 && type[i].data[0] == '*') {
            return 1;
        }

        if (type[i].len == r->exten.len
            && ngx_strncasecmp(type[i].data, r->exten.data, r->exten.len) == 0)
        {
            return 1;
        }
    }

    return 0;
}


static void
ngx_http_sclera_begin(ngx_http_request_t *r)
{
    ngx_http_sclera_start(r, 0);
}


static void
ngx_http_sclera_begin_without_body(ngx_http_request_t *r)
{
    ngx_http_sclera_start(r, 1);
}


static void
ngx_http_sclera_start(ngx_http_request_t *r, ngx_uint_t bodiless)
{
    sclera_request                request;
    ngx_connection_t             *c;
    ngx_http_cleanup_t           *cln;
    ngx_http_sclera_ctx_t        *ctx;
    ngx_http_sclera_main_conf_t  *smcf;

    c = r->connection;
    smcf = ngx_http_get_module_main_conf(r, ngx_http_sclera_module);

    ctx = ngx_pcalloc(r->pool, sizeof(ngx_http_sclera_ctx_t));
    cln = ngx_http_cleanup_add(r, 0);

    if (ctx == NULL || cln == NULL) {
        goto failed;
    }

    ngx_http_set_ctx(r, ctx, ngx_http_sclera_module);

    ctx->request = r;
    ctx->rest = -1;
    ctx->bodiless = bodiless;
    ctx->event.handler = ngx_http_sclera_event_handler;
    ctx->event.data = ctx;
    ctx->event.log = c->log;

    if (ngx_http_sclera_translate(ctx, &request) != NGX_OK) {
        goto failed;
    }

    if (sclera_exchange_begin(smcf->worker, &request, &ctx->exchange)
        != SCLERA_OK)
    {
        ngx_log_error(NGX_LOG_ALERT, c->log, 0, "sclera: %s",
                      sclera_last_error());
        goto failed;
    }

    cln->handler = ngx_http_sclera_cleanup;
    cln->data = ctx;
    ctx->cleanup = &cln->handler;

    if (ngx_http_sclera_note_request(ctx) != NGX_OK) {
        ctx->facts = NULL;
    }

    ngx_queue_insert_tail(&smcf->requests, &ctx->queue);

    r->read_event_handler = r->reading_body ? ngx_http_sclera_read_handler
                                            : ngx_http_test_reading;
    r->write_event_handler = ngx_http_sclera_write_handler;

    /* a client that goes away shall be noticed */

    if (c->read->ready) {
        ngx_post_event(c->read, &ngx_posted_events);

    } else if (ngx_handle_read_event(c->read, 0) != NGX_OK) {
        ngx_http_sclera_finalize(ctx, NGX_HTTP_INTERNAL_SERVER_ERROR);
        return;
    }

    ngx_http_sclera_drive(ctx);

    return;

failed:

    ngx_http_finalize_request(r, NGX_HTTP_INTERNAL_SERVER_ERROR);
}


static ngx_int_t
ngx_http_sclera_translate(ngx_http_sclera_ctx_t *ctx, sclera_request *request)
{
    ngx_str_t                    *name;
    ngx_connection_t             *c;
    ngx_http_request_t           *r;
    ngx_http_core_srv_conf_t     *cscf;
    ngx_http_variable_value_t    *id;
    ngx_http_sclera_main_conf_t  *smcf;

    r = ctx->request;
    c = r->connection;

    ngx_memzero(request, sizeof(sclera_request));

    request->size = sizeof(sclera_request);
    request->userdata = ctx;

    request->method.data = r->method_name.data;
    request->method.length = r->method_name.len;
    request->protocol.data = r->http_protocol.data;
    request->protocol.length = r->http_protocol.len;

    request->remote_address.data = c->addr_text.data;
    request->remote_address.length = c->addr_text.len;
    request->remote_port = ngx_inet_get_port(c->sockaddr);

    name = &r->headers_in.server;

    if (name->len == 0) {
        cscf = ngx_http_get_module_srv_conf(r, ngx_http_core_module);
        name = &cscf->server_name;
    }

    request->server_name.data = name->data;
    request->server_name.length = name->len;
    request->server_port = ngx_inet_get_port(c->local_sockaddr);

#if (NGX_HTTP_SSL)
    request->https = (c->ssl != NULL);
#endif

    smcf = ngx_http_get_module_main_conf(r, ngx_http_sclera_module);

    if (smcf->request_id != NGX_ERROR) {
        id = ngx_http_get_indexed_variable(r, smcf->request_id);

        if (id && !id->not_found) {
            request->request_id.data = id->data;
            request->request_id.length = id->len;
        }
    }

    if (ngx_http_sclera_target(r, &request->target) != NGX_OK
        || ngx_http_sclera_request_headers(ctx, request) != NGX_OK
        || ngx_http_sclera_user(r, request) != NGX_OK)
    {
        return NGX_ERROR;
    }

    return ngx_http_sclera_take_body(ctx, request);
}


static ngx_int_t
ngx_http_sclera_request_headers(ngx_http_sclera_ctx_t *ctx,
    sclera_request *request)
{
    ngx_uint_t           i, n;
    sclera_pair         *pair;
    ngx_list_part_t     *part;
    ngx_table_elt_t     *h;
    ngx_http_request_t  *r;

    r = ctx->request;
    n = 0;

    for (part = &r->headers_in.headers.part; part; part = part->next) {
        n += part->nelts;
    }

    pair = ngx_palloc(r->pool, (n + 1) * sizeof(sclera_pair));
    if (pair == NULL) {
        return NGX_ERROR;
    }

    request->headers = pair;

    for (part = &r->headers_in.headers.part; part; part = part->next) {
        h = part->elts;

        for (i = 0; i < part->nelts; i++) {

            /* a subrequest has its parent's headers, but a body of its own */

            if ((r != r->main || ctx->bodiless)
                && (ngx_strcasecmp(h[i].key.data, (u_char *) "Content-Length")
                    == 0
                    || ngx_strcasecmp(h[i].key.data,
                                      (u_char *) "Transfer-Encoding") == 0))
            {
                continue;
            }

            pair->name.data = h[i].key.data;
            pair->name.length = h[i].key.len;
            pair->value.data = h[i].value.data;
            pair->value.length = h[i].value.len;
            pair++;
        }
    }

    request->header_count = pair - request->headers;

    return NGX_OK;
}


/* as the browser sent it, unless nginx has changed the URI since */

static ngx_int_t
ngx_http_sclera_target(ngx_http_request_t *r, sclera_slice *target)
{
    u_char     *p;
    size_t      len;
    uintptr_t   escape;

    if (r->valid_unparsed_uri && r == r->main) {
        target->data = r->unparsed_uri.data;
        target->length = r->unparsed_uri.len;
        return NGX_OK;
    }

    escape = 2 * ngx_escape_uri(NULL, r->uri.data, r->uri.len, NGX_ESCAPE_URI);
    len = r->uri.len + escape + sizeof("?") - 1 + r->args.len;

    p = ngx_pnalloc(r->pool, len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    target->data = p;

    if (escape) {
        p = (u_char *) ngx_escape_uri(p, r->uri.data, r->uri.len,
                                      NGX_ESCAPE_URI);

    } else {
        p = ngx_cpymem(p, r->uri.data, r->uri.len);
    }

    if (r->args.len) {
        *p++ = '?';
        p = ngx_cpymem(p, r->args.data, r->args.len);
    }

    target->length = p - target->data;

    return NGX_OK;
}


/*
 * nginx decodes an Authorization header for whoever asks, checked or not, and
 * an application takes the user for checked.  He is, if auth_basic is in force
 * here and nothing but it could have let the request pass.
 */

static ngx_int_t
ngx_http_sclera_user(ngx_http_request_t *r, sclera_request *request)
{
    ngx_str_t                      realm;
    ngx_http_core_loc_conf_t      *clcf;
    ngx_http_sclera_auth_basic_t  *alcf;

    if (r != r->main || r->headers_in.user.len == 0) {
        return NGX_OK;
    }

    clcf = ngx_http_get_module_loc_conf(r, ngx_http_core_module);
    alcf = ngx_http_get_module_loc_conf(r, ngx_http_auth_basic_module);

    if (clcf->satisfy != NGX_HTTP_SATISFY_ALL
        || alcf->realm == NULL || alcf->realm == NGX_CONF_UNSET_PTR)
    {
        return NGX_OK;
    }

    if (ngx_http_complex_value(r, alcf->realm, &realm) != NGX_OK) {
        return NGX_ERROR;
    }

    if (realm.len == 3 && ngx_strncmp(realm.data, "off", 3) == 0) {
        return NGX_OK;
    }

    request->remote_user.data = r->headers_in.user.data;
    request->remote_user.length = r->headers_in.user.len;
    request->auth_type.data = (u_char *) "Basic";
    request->auth_type.length = sizeof("Basic") - 1;

    return NGX_OK;
}


static ngx_int_t
ngx_http_sclera_take_body(ngx_http_sclera_ctx_t *ctx, sclera_request *request)
{
    ngx_chain_t         *cl, *ln, **ll;
    ngx_http_request_t  *r;

    r = ctx->request;

    if (r->request_body == NULL || ctx->bodiless) {
        return NGX_OK;
    }

    if (r->reading_body) {
        ctx->in = r->request_body->bufs;
        r->request_body->bufs = NULL;

        request->content_length = r->headers_in.chunked
                                  ? -1 : r->headers_in.content_length_n;
        return NGX_OK;
    }

    /* all of it is here, and not ours alone: our place in it is in copies */

    ll = &ctx->in;

    for (cl = r->request_body->bufs; cl; cl = cl->next) {

        if (ngx_buf_special(cl->buf)) {
            continue;
        }

        ln = ngx_alloc_chain_link(r->pool);
        if (ln == NULL) {
            return NGX_ERROR;
        }

        ln->buf = ngx_calloc_buf(r->pool);
        if (ln->buf == NULL) {
            return NGX_ERROR;
        }

        ngx_memcpy(ln->buf, cl->buf, sizeof(ngx_buf_t));
        request->content_length += ngx_buf_size(cl->buf);

        *ll = ln;
        ll = &ln->next;
    }

    *ll = NULL;

    return NGX_OK;
}


/* ctx, and the request with it, may be gone afterwards */

static void
ngx_http_sclera_drive(ngx_http_sclera_ctx_t *ctx)
{
    ngx_int_t  rc;

    do {
        switch (sclera_exchange_drive(ctx->exchange)) {

        case SCLERA_STEP_WAIT:
            rc = ngx_http_sclera_flush(ctx);

            if (rc == NGX_OK) {
                rc = ngx_http_sclera_watch(ctx);
            }

            break;

        case SCLERA_STEP_NEED_BODY:
            rc = ngx_http_sclera_give_body(ctx);

            if (rc == NGX_AGAIN) {
                rc = ngx_http_sclera_flush(ctx);

                if (rc == NGX_OK) {
                    rc = NGX_AGAIN;
                }
            }

            break;

        case SCLERA_STEP_HEAD:
            rc = ngx_http_sclera_head(ctx);
            break;

        case SCLERA_STEP_BODY:
            rc = ngx_http_sclera_body(ctx);
            break;

        case SCLERA_STEP_DONE:
            ngx_http_sclera_done(ctx);
            return;

        default: /* SCLERA_STEP_ABORT */

            if (!ctx->head_sent
                && sclera_exchange_retract(ctx->exchange) == SCLERA_OK)
            {
                /* nothing has left yet: an honest answer is possible */

                ngx_http_sclera_begin_anew(ctx);
                rc = NGX_OK;
                break;
            }

            ngx_http_sclera_abort(ctx);
            return;
        }

    } while (rc == NGX_OK);

    if (rc != NGX_AGAIN) {
        ngx_http_sclera_finalize(ctx, rc);
    }
}


static void
ngx_http_sclera_drive_from_event(ngx_http_sclera_ctx_t *ctx)
{
    ngx_connection_t    *c;
    ngx_http_request_t  *r;

    r = ctx->request;
    c = r->connection;

    ngx_http_set_log_request(c->log, r);

    ngx_http_sclera_drive(ctx);

    ngx_http_run_posted_requests(c);
}


static void
ngx_http_sclera_event_handler(ngx_event_t *ev)
{
    ngx_http_sclera_ctx_t  *ctx;

    ctx = ev->data;
    ev->timedout = 0;

    /* what the exchange waits for comes from the client */

    if (ctx->blocked || ctx->need_body) {
        return;
    }

    ngx_http_sclera_drive_from_event(ctx);
}


static void
ngx_http_sclera_link_handler(ngx_event_t *ev)
{
    uint32_t                mask;
    ngx_connection_t       *c;
    ngx_http_sclera_ctx_t  *ctx;

    c = ev->data;
    ctx = c->data;

    /* at rest: the library looks before it uses it again */

    if (ctx == NULL) {
        return;
    }

    mask = ev->write ? SCLERA_WRITE : SCLERA_READ;

    if (ctx->blocked || ctx->need_body || !(ctx->events & mask)) {

        /* the exchange looks itself when it is driven again */

        ev->ready = 1;

        if (ev->write) {
            (void) ngx_handle_write_event(ev, 0);

        } else {
            (void) ngx_handle_read_event(ev, 0);
        }

        return;
    }

    ngx_http_sclera_drive_from_event(ctx);
}


/* while the request body has not come whole */

static void
ngx_http_sclera_read_handler(ngx_http_request_t *r)
{
    ngx_connection_t       *c;
    ngx_http_sclera_ctx_t  *ctx;

    c = r->connection;
    ctx = ngx_http_get_module_ctx(r, ngx_http_sclera_module);

    if (!ctx->need_body) {
        c->read->timedout = 0;
        return;
    }

    if (c->read->timedout) {
        ngx_log_error(NGX_LOG_INFO, c->log, NGX_ETIMEDOUT, "client timed out");
        c->timedout = 1;
        ngx_http_sclera_finalize(ctx, NGX_HTTP_REQUEST_TIME_OUT);
        return;
    }

    /* output that waits must leave first: its write event drives, and the body is asked for again */

    if (ctx->blocked) {
        return;
    }

    ngx_http_sclera_drive(ctx);
}


static void
ngx_http_sclera_write_handler(ngx_http_request_t *r)
{
    ngx_int_t               rc;
    ngx_event_t            *wev;
    ngx_connection_t       *c;
    ngx_http_sclera_ctx_t  *ctx;

    c = r->connection;
    wev = c->write;
    ctx = ngx_http_get_module_ctx(r, ngx_http_sclera_module);

    if (wev->timedout) {
        ngx_log_error(NGX_LOG_INFO, c->log, NGX_ETIMEDOUT, "client timed out");
        c->timedout = 1;
        ngx_http_sclera_finalize(ctx, NGX_HTTP_REQUEST_TIME_OUT);
        return;
    }

    if (wev->delayed || r->aio) {
        return;
    }

    if (!ctx->blocked && !r->buffered && !c->buffered) {
        return;
    }

    rc = ngx_http_sclera_output(ctx, NULL);

    if (rc == NGX_ERROR) {
        ngx_http_sclera_finalize(ctx, rc);
        return;
    }

    if (rc == NGX_OK && ctx->blocked) {
        ctx->blocked = 0;
        ngx_http_sclera_drive(ctx);
    }
}


static ngx_int_t
ngx_http_sclera_watch(ngx_http_sclera_ctx_t *ctx)
{
    sclera_wants                  wants;
    ngx_msec_t                    timeout;
    ngx_http_sclera_main_conf_t  *smcf;

    wants.size = sizeof(sclera_wants);

    if (sclera_exchange_wants(ctx->exchange, &wants) != SCLERA_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    smcf = ngx_http_get_module_main_conf(ctx->request, ngx_http_sclera_module);

    if (ctx->link && ctx->link->number != wants.link) {
        ngx_http_sclera_forget_link(smcf, ctx->link, 1);
        ctx->link = NULL;
    }

    ctx->events = wants.events;

    if (wants.fd != -1) {

        if (ctx->link == NULL) {
            ctx->link = ngx_http_sclera_get_link(smcf, &wants);

            if (ctx->link == NULL) {
                return NGX_HTTP_SERVICE_UNAVAILABLE;
            }
        }

        if (ngx_http_sclera_watch_link(ctx) != NGX_OK) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }
    }

    timeout = NGX_HTTP_SCLERA_LONGEST;

    if (wants.timeout_ms >= 0 && wants.timeout_ms < (int64_t) timeout) {
        timeout = wants.timeout_ms;
    }

    ngx_add_timer(&ctx->event, timeout);

    return NGX_AGAIN;
}


static ngx_connection_t *
ngx_http_sclera_get_link(ngx_http_sclera_main_conf_t *smcf,
    sclera_wants *wants)
{
    struct stat              st;
    ngx_connection_t        *c;
    ngx_http_sclera_link_t  *link;

    link = ngx_http_sclera_link_slot(smcf, wants->fd);
    if (link == NULL) {
        return NULL;
    }

    c = link->connection;

    if (c) {
        if (c->number == wants->link) {
            return c;
        }

        /* the number of the descriptor is another's by now */
        ngx_http_sclera_forget_link(smcf, c, 1);
    }

    if (smcf->links_known >= smcf->links_sweep) {
        ngx_http_sclera_sweep_links(smcf);
    }

    if (fstat(wants->fd, &st) == -1) {
        return NULL;
    }

    c = ngx_get_connection(wants->fd, ngx_cycle->log);
    if (c == NULL) {
        return NULL;
    }

    c->number = wants->link;
    c->read->handler = ngx_http_sclera_link_handler;
    c->read->log = c->log;
    c->write->handler = ngx_http_sclera_link_handler;
    c->write->log = c->log;

    link->connection = c;
    link->inode = st.st_ino;
    smcf->links_known++;

    return c;
}


static ngx_http_sclera_link_t *
ngx_http_sclera_link_slot(ngx_http_sclera_main_conf_t *smcf, ngx_uint_t fd)
{
    ngx_uint_t               size;
    ngx_http_sclera_link_t  *links;

    if (fd < smcf->links_size) {
        return &smcf->links[fd];
    }

    size = 2 * fd + 64;

    links = ngx_calloc(size * sizeof(ngx_http_sclera_link_t), ngx_cycle->log);
    if (links == NULL) {
        return NULL;
    }

    if (smcf->links) {
        ngx_memcpy(links, smcf->links,
                   smcf->links_size * sizeof(ngx_http_sclera_link_t));
        ngx_free(smcf->links);
    }

    smcf->links = links;
    smcf->links_size = size;

    return &links[fd];
}


/* the library closes sockets at rest without a word; those must not hold nginx's connections for ever */

static void
ngx_http_sclera_sweep_links(ngx_http_sclera_main_conf_t *smcf)
{
    ngx_uint_t         i;
    struct stat        st;
    ngx_connection_t  *c;

    for (i = 0; i < smcf->links_size; i++) {
        c = smcf->links[i].connection;

        if (c && c->data == NULL
            && (fstat(c->fd, &st) == -1
                || st.st_ino != smcf->links[i].inode))
        {
            ngx_http_sclera_forget_link(smcf, c, 1);
        }
    }

    smcf->links_sweep = 2 * smcf->links_known + 16;
}


static ngx_int_t
ngx_http_sclera_watch_link(ngx_http_sclera_ctx_t *ctx)
{
    ngx_connection_t  *c;

    c = ctx->link;
    c->data = ctx;

    /* an event that is not wanted counts as there already, so nobody adds it */

    c->read->ready = !(ctx->events & SCLERA_READ);
    c->write->ready = !(ctx->events & SCLERA_WRITE);

    if (ngx_handle_read_event(c->read, 0) != NGX_OK
        || ngx_handle_write_event(c->write, 0) != NGX_OK)
    {
        return NGX_ERROR;
    }

    return NGX_OK;
}


/* the exchange ends: its connection has been closed, is closed next, or goes back to the pool */

static void
ngx_http_sclera_leave_link(ngx_http_sclera_ctx_t *ctx)
{
    sclera_wants                  wants;
    ngx_uint_t                    closed;
    ngx_connection_t             *c;
    ngx_http_sclera_main_conf_t  *smcf;

    c = ctx->link;
    ctx->link = NULL;

    c->data = NULL;

    wants.size = sizeof(sclera_wants);

    closed = sclera_exchange_wants(ctx->exchange, &wants) != SCLERA_OK
             || wants.link != c->number;

    if (!closed && wants.events == 0
        && (ngx_event_flags & NGX_USE_EPOLL_EVENT))
    {
        return;
    }

    smcf = ngx_http_get_module_main_conf(ctx->request, ngx_http_sclera_module);

    ngx_http_sclera_forget_link(smcf, c, closed);
}


/* a closed descriptor has left the event method by itself, and its number may be another's by now */

static void
ngx_http_sclera_forget_link(ngx_http_sclera_main_conf_t *smcf,
    ngx_connection_t *c, ngx_uint_t closed)
{
    ngx_uint_t  flags;

    smcf->links[c->fd].connection = NULL;
    smcf->links_known--;

    flags = closed ? NGX_CLOSE_EVENT : 0;

    if (c->read->active || c->write->active) {

        if (ngx_del_conn) {
            (void) ngx_del_conn(c, flags);

        } else {
            if (c->read->active) {
                (void) ngx_del_event(c->read, NGX_READ_EVENT, flags);
            }

            if (c->write->active) {
                (void) ngx_del_event(c->write, NGX_WRITE_EVENT, flags);
            }
        }
    }

    if (c->read->posted) {
        ngx_delete_posted_event(c->read);
    }

    if (c->write->posted) {
        ngx_delete_posted_event(c->write);
    }

    c->read->closed = 1;
    c->write->closed = 1;

    ngx_free_connection(c);
    c->fd = (ngx_socket_t) -1;
}


/* NGX_OK: something was given; NGX_AGAIN: the client has sent nothing more */

static ngx_int_t
ngx_http_sclera_give_body(ngx_http_sclera_ctx_t *ctx)
{
    ngx_int_t            rc;
    ngx_buf_t           *b;
    ngx_chain_t         *ln;
    ngx_http_request_t  *r;

    r = ctx->request;
    ctx->need_body = 0;

    for ( ;; ) {

        while (ctx->in) {
            ln = ctx->in;
            b = ln->buf;

            if (ngx_buf_size(b)) {
                return ngx_http_sclera_give_buf(ctx, b,
                                    !r->reading_body && ln->next == NULL);
            }

            ctx->in = ln->next;
            ngx_free_chain(r->pool, ln);
        }

        if (!r->reading_body) {
            (void) sclera_exchange_give_body(ctx->exchange, NULL, 0, 1);
            return NGX_OK;
        }

        rc = ngx_http_read_unbuffered_request_body(r);

        if (rc >= NGX_HTTP_SPECIAL_RESPONSE) {
            return rc;
        }

        ctx->in = r->request_body->bufs;
        r->request_body->bufs = NULL;

        if (!r->reading_body) {
            r->read_event_handler = ngx_http_test_reading;
            continue;
        }

        if (ctx->in == NULL) {
            ctx->need_body = 1;
            return NGX_AGAIN;
        }

        /* whether the client is slow matters only while it is waited for */

        if (r->connection->read->timer_set) {
            ngx_del_timer(r->connection->read);
        }
    }
}


static ngx_int_t
ngx_http_sclera_give_buf(ngx_http_sclera_ctx_t *ctx, ngx_buf_t *b,
    ngx_uint_t last)
{
    size_t      size;
    ssize_t     n;
    ngx_buf_t  *file;

    if (ngx_buf_in_memory(b)) {
        b->pos += sclera_exchange_give_body(ctx->exchange, b->pos,
                                            b->last - b->pos, last);
        return NGX_OK;
    }

    /* read whole by another handler before us, and too large for its buffer */

    if (ctx->file == NULL) {
        ctx->file = ngx_create_temp_buf(ctx->request->pool,
                                        NGX_HTTP_SCLERA_FILE_PIECE);
        if (ctx->file == NULL) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }
    }

    file = ctx->file;
    size = ngx_min(b->file_last - b->file_pos, file->end - file->start);

    n = ngx_read_file(b->file, file->start, size, b->file_pos);

    if (n <= 0) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    b->file_pos += sclera_exchange_give_body(ctx->exchange, file->start, n,
                                    last && b->file_pos + n == b->file_last);

    return NGX_OK;
}


/* the head is translated at once but sent with the first of the body */

static ngx_int_t
ngx_http_sclera_head(ngx_http_sclera_ctx_t *ctx)
{
    u_char                    *p;
    ngx_uint_t                 i;
    sclera_failure             failure;
    sclera_response            response;
    ngx_http_request_t        *r;
    ngx_http_err_page_t       *page;
    ngx_http_core_loc_conf_t  *clcf;

    r = ctx->request;

    response.size = sizeof(sclera_response);

    if (sclera_exchange_response(ctx->exchange, &response) != SCLERA_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ngx_http_sclera_note_outcome(ctx);

    /* a failure of the gateway, unlike an application's answer, may have a page in nginx's configuration */

    failure.size = sizeof(sclera_failure);
    clcf = ngx_http_get_module_loc_conf(r, ngx_http_core_module);

    if (clcf->error_pages && !r->error_page
        && sclera_exchange_failure(ctx->exchange, &failure))
    {
        page = clcf->error_pages->elts;

        for (i = 0; i < clcf->error_pages->nelts; i++) {
            if (page[i].status == response.status) {
                return response.status;
            }
        }
    }

    r->headers_out.status = response.status;
    r->disable_not_modified = 1;

    if (response.reason.length) {
        p = ngx_pnalloc(r->pool, sizeof("200 ") - 1 + response.reason.length);
        if (p == NULL) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }

        r->headers_out.status_line.data = p;
        r->headers_out.status_line.len = ngx_sprintf(p, "%03ui %*s",
                                                     r->headers_out.status,
                                                     response.reason.length,
                                                     response.reason.data)
                                         - p;
    }

    if (ngx_http_sclera_response_headers(r, &response) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (response.status == NGX_HTTP_NO_CONTENT) {
        response.content_length = -1;
        r->header_only = 1;
    }

    if (response.status == NGX_HTTP_NOT_MODIFIED) {
        r->header_only = 1;
    }

    r->headers_out.content_length_n = response.content_length;
    ctx->rest = response.content_length;
    ctx->head = 1;

    return NGX_OK;
}


static ngx_int_t
ngx_http_sclera_response_headers(ngx_http_request_t *r,
    sclera_response *response)
{
    u_char                    *p;
    size_t                     i, len;
    ngx_str_t                  name, value;
    const sclera_pair         *pair;
    ngx_http_sclera_header_t  *header;

    /* one copy of all, because logs look at headers after the exchange's end */

    len = 0;
    pair = response->headers;

    for (i = 0; i < response->header_count; i++) {
        len += pair[i].name.length + pair[i].value.length;
    }

    p = ngx_pnalloc(r->pool, len + 1);
    if (p == NULL) {
        return NGX_ERROR;
    }

    for (i = 0; i < response->header_count; i++) {
        name.data = p;
        name.len = pair[i].name.length;
        p = ngx_cpymem(p, pair[i].name.data, name.len);

        value.data = p;
        value.len = pair[i].value.length;
        p = ngx_cpymem(p, pair[i].value.data, value.len);

        for (header = ngx_http_sclera_headers; header->name.len; header++) {
            if (header->name.len == name.len
                && ngx_strncasecmp(header->name.data, name.data, name.len) == 0)
            {
                break;
            }
        }

        if (header->name.len == 0) {
            header = NULL;
        }

        if ((header ? header->handler : ngx_http_sclera_push_header)
                (r, header, &name, &value)
            != NGX_OK)
        {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


static ngx_table_elt_t *
ngx_http_sclera_add_header(ngx_http_request_t *r, ngx_str_t *name,
    ngx_str_t *value)
{
    ngx_table_elt_t  *h;

    h = ngx_list_push(&r->headers_out.headers);
    if (h == NULL) {
        return NULL;
    }

    ngx_memzero(h, sizeof(ngx_table_elt_t));

    h->hash = 1;
    h->key = *name;
    h->value = *value;

    return h;
}


static ngx_int_t
ngx_http_sclera_push_header(ngx_http_request_t *r,
    ngx_http_sclera_header_t *header, ngx_str_t *name, ngx_str_t *value)
{
    ngx_table_elt_t  *h, **ph;

    h = ngx_http_sclera_add_header(r, name, value);
    if (h == NULL) {
        return NGX_ERROR;
    }

    if (header && header->offset) {
        ph = (ngx_table_elt_t **) ((char *) &r->headers_out + header->offset);

        if (*ph == NULL) {
            *ph = h;
        }
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_sclera_hide_header(ngx_http_request_t *r,
    ngx_http_sclera_header_t *header, ngx_str_t *name, ngx_str_t *value)
{
    return NGX_OK;
}


static ngx_int_t
ngx_http_sclera_content_type(ngx_http_request_t *r,
    ngx_http_sclera_header_t *header, ngx_str_t *name, ngx_str_t *value)
{
    u_char  *p, *last;

    r->headers_out.content_type = *value;
    r->headers_out.content_type_len = value->len;
    r->headers_out.content_type_lowcase = NULL;

    /* filters look for the bare type, and for the charset */

    last = value->data + value->len;

    p = ngx_strlchr(value->data, last, ';');
    if (p == NULL) {
        return NGX_OK;
    }

    r->headers_out.content_type_len = p - value->data;

    p = ngx_strlcasestrn(p, last, (u_char *) "charset=",
                         sizeof("charset=") - 2);
    if (p == NULL) {
        return NGX_OK;
    }

    p += sizeof("charset=") - 1;

    r->headers_out.charset.data = p;

    while (p < last && *p != ';') {
        p++;
    }

    r->headers_out.charset.len = p - r->headers_out.charset.data;

    return NGX_OK;
}


static ngx_int_t
ngx_http_sclera_location(ngx_http_request_t *r,
    ngx_http_sclera_header_t *header, ngx_str_t *name, ngx_str_t *value)
{
    ngx_table_elt_t  *h;

    h = ngx_http_sclera_add_header(r, name, value);
    if (h == NULL) {
        return NGX_ERROR;
    }

    /* nginx would make an absolute URL of a path; the application's stays as it is */

    if (value->len && value->data[0] != '/') {
        r->headers_out.location = h;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_sclera_cache_control(ngx_http_request_t *r,
    ngx_http_sclera_header_t *header, ngx_str_t *name, ngx_str_t *value)
{
    ngx_table_elt_t  *h, **ph;

    h = ngx_http_sclera_add_header(r, name, value);
    if (h == NULL) {
        return NGX_ERROR;
    }

#if (nginx_version >= 1023000)

    for (ph = &r->headers_out.cache_control; *ph; ph = &(*ph)->next) {
        /* void */
    }

#else

    if (r->headers_out.cache_control.elts == NULL
        && ngx_array_init(&r->headers_out.cache_control, r->pool, 2,
                          sizeof(ngx_table_elt_t *))
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    ph = ngx_array_push(&r->headers_out.cache_control);
    if (ph == NULL) {
        return NGX_ERROR;
    }

#endif

    *ph = h;

    return NGX_OK;
}


static ngx_int_t
ngx_http_sclera_body(ngx_http_sclera_ctx_t *ctx)
{
    ngx_int_t            rc;
    ngx_buf_t           *b;
    ngx_chain_t          out[2], *cl;
    sclera_slice         body;
    ngx_http_request_t  *r;

    r = ctx->request;
    body = sclera_exchange_body(ctx->exchange);

    if (r->header_only || body.length == 0) {
        sclera_exchange_consume(ctx->exchange, body.length);
        return NGX_OK;
    }

    if ((off_t) body.length != ctx->rest
        && ngx_http_sclera_make_room(ctx, body.length) != NGX_OK)
    {
        return NGX_ERROR;
    }

    b = ctx->gather;

    if (b && (off_t) body.length != ctx->rest
        && (size_t) (b->end - b->last) >= body.length)
    {
        b->last = ngx_cpymem(b->last, body.data, body.length);
        goto passed;
    }

    if (!ctx->head_sent) {
        rc = ngx_http_sclera_send_head(ctx);

        if (rc != NGX_OK) {
            return rc;
        }

        if (r->header_only) {
            goto passed;
        }
    }

    cl = out;

    if (b && b->pos != b->last) {
        cl->buf = b;
        cl->next = cl + 1;
        cl++;
    }

    cl->buf = &ctx->piece;
    cl->next = NULL;

    b = &ctx->piece;

    ngx_memzero(b, sizeof(ngx_buf_t));

    b->start = (u_char *) body.data;
    b->pos = b->start;
    b->last = b->start + body.length;
    b->end = b->last;
    b->memory = 1;
    b->tag = (ngx_buf_tag_t) &ngx_http_sclera_module;

    if ((off_t) body.length == ctx->rest) {
        ngx_http_sclera_mark_last(r, b);
        ctx->last_sent = 1;
    }

    /* borrowed bytes are not for keeping until there are more */
    b->flush = !b->last_buf;

    rc = ngx_http_sclera_output(ctx, out);

    if (rc == NGX_AGAIN) {
        ctx->blocked = 1;
    }

    return rc;

passed:

    if (ctx->rest != -1) {
        ctx->rest -= body.length;
    }

    sclera_exchange_consume(ctx->exchange, body.length);

    return NGX_OK;
}


/* a buffer to gather a piece of this size in, if such pieces are gathered */

static ngx_int_t
ngx_http_sclera_make_room(ngx_http_sclera_ctx_t *ctx, size_t length)
{
    size_t      size;
    ngx_buf_t  *b;

    b = ctx->gather;
    size = (length <= NGX_HTTP_SCLERA_GATHER) ? NGX_HTTP_SCLERA_GATHER
                                              : NGX_HTTP_SCLERA_GATHER_LARGE;

    if (length > size || (ctx->slow && size == NGX_HTTP_SCLERA_GATHER_LARGE)) {
        return NGX_OK;
    }

    if (b && (b->pos != b->last || (size_t) (b->end - b->start) >= size)) {
        return NGX_OK;
    }

    ngx_http_sclera_free_gather(ctx);

    b = ngx_create_temp_buf(ctx->request->pool, size);
    if (b == NULL) {
        return NGX_ERROR;
    }

    b->tag = (ngx_buf_tag_t) &ngx_http_sclera_module;
    ctx->gather = b;

    return NGX_OK;
}


/* a large one goes back to the system, a small one stays with the request */

static void
ngx_http_sclera_free_gather(ngx_http_sclera_ctx_t *ctx)
{
    if (ctx->gather) {
        (void) ngx_pfree(ctx->request->pool, ctx->gather->start);
        ctx->gather = NULL;
    }
}


static ngx_int_t
ngx_http_sclera_send_head(ngx_http_sclera_ctx_t *ctx)
{
    ngx_int_t  rc;

    ctx->head_sent = 1;

    rc = ngx_http_send_header(ctx->request);

    return (rc == NGX_ERROR || rc > NGX_OK) ? rc : NGX_OK;
}


/* before a pause, the client shall have what there is */

static ngx_int_t
ngx_http_sclera_flush(ngx_http_sclera_ctx_t *ctx)
{
    ngx_int_t            rc;
    ngx_buf_t           *b;
    ngx_chain_t          out;
    ngx_http_request_t  *r;

    r = ctx->request;
    b = ctx->gather;

    if (!ctx->head || (ctx->head_sent && (b == NULL || b->pos == b->last))) {
        return NGX_OK;
    }

    if (!ctx->head_sent) {
        rc = ngx_http_sclera_send_head(ctx);

        if (rc != NGX_OK || r->header_only) {
            return rc;
        }

        if (b == NULL || b->pos == b->last) {
            b = ngx_calloc_buf(r->pool);
            if (b == NULL) {
                return NGX_ERROR;
            }
        }
    }

    b->flush = 1;

    out.buf = b;
    out.next = NULL;

    rc = ngx_http_sclera_output(ctx, &out);

    if (rc == NGX_AGAIN) {
        ctx->blocked = 1;
    }

    return rc;
}


/* NGX_OK: all of it is out of our hands; NGX_AGAIN: not yet */

static ngx_int_t
ngx_http_sclera_output(ngx_http_sclera_ctx_t *ctx, ngx_chain_t *out)
{
    if (ngx_http_output_filter(ctx->request, out) == NGX_ERROR) {
        return NGX_ERROR;
    }

    if (ngx_http_sclera_await_client(ctx->request) != NGX_OK) {
        return NGX_ERROR;
    }

    return ngx_http_sclera_drained(ctx);
}


static ngx_int_t
ngx_http_sclera_drained(ngx_http_sclera_ctx_t *ctx)
{
    size_t      size;
    ngx_buf_t  *gather, *piece;

    piece = &ctx->piece;
    gather = ctx->gather;

    if (piece->pos != piece->last || (gather && gather->pos != gather->last)) {
        ctx->slow = 1;
    }

    if (gather && gather->pos == gather->last) {
        gather->pos = gather->start;
        gather->last = gather->start;
        gather->flush = 0;

        if (ctx->slow && gather->end - gather->start > NGX_HTTP_SCLERA_GATHER) {
            ngx_http_sclera_free_gather(ctx);
            gather = NULL;
        }
    }

    if (piece->pos != piece->last) {
        return NGX_AGAIN;
    }

    if (piece->start) {
        size = piece->end - piece->start;

        if (ctx->rest != -1) {
            ctx->rest -= size;
        }

        ngx_memzero(piece, sizeof(ngx_buf_t));
        sclera_exchange_consume(ctx->exchange, size);
    }

    return (gather && gather->pos != gather->last) ? NGX_AGAIN : NGX_OK;
}


static ngx_int_t
ngx_http_sclera_await_client(ngx_http_request_t *r)
{
    ngx_event_t               *wev;
    ngx_connection_t          *c;
    ngx_http_core_loc_conf_t  *clcf;

    c = r->connection;
    wev = c->write;

    /* a subrequest whose turn has not come is called when it has */

    if (c->data != r) {
        return NGX_OK;
    }

    clcf = ngx_http_get_module_loc_conf(r, ngx_http_core_module);

    if (ngx_handle_write_event(wev, clcf->send_lowat) != NGX_OK) {
        return NGX_ERROR;
    }

    if (wev->delayed) {
        return NGX_OK;
    }

    if (wev->active && !wev->ready) {
        ngx_add_timer(wev, clcf->send_timeout);

    } else if (wev->timer_set) {
        ngx_del_timer(wev);
    }

    return NGX_OK;
}


static void
ngx_http_sclera_mark_last(ngx_http_request_t *r, ngx_buf_t *b)
{
    b->last_buf = (r == r->main && !r->post_action);
    b->last_in_chain = 1;
}


static void
ngx_http_sclera_done(ngx_http_sclera_ctx_t *ctx)
{
    ngx_int_t            rc;
    ngx_buf_t           *b;
    ngx_chain_t          out;
    ngx_http_request_t  *r;

    r = ctx->request;
    b = ctx->gather;

    if (b && b->pos == b->last) {
        b = NULL;
    }

    if (!ctx->head_sent) {

        if (r->headers_out.content_length_n == -1
            && !r->header_only && r->method != NGX_HTTP_HEAD)
        {
            r->headers_out.content_length_n = b ? b->last - b->pos : 0;
        }

        rc = ngx_http_sclera_send_head(ctx);

        if (rc != NGX_OK) {
            ngx_http_sclera_finalize(ctx, rc);
            return;
        }
    }

    if (r->header_only || ctx->last_sent) {
        rc = NGX_OK;

    } else if (b) {
        ngx_http_sclera_mark_last(r, b);

        out.buf = b;
        out.next = NULL;

        rc = ngx_http_output_filter(r, &out);

    } else {
        rc = ngx_http_send_special(r, NGX_HTTP_LAST);
    }

    ngx_http_sclera_finalize(ctx, rc);
}


static void
ngx_http_sclera_begin_anew(ngx_http_sclera_ctx_t *ctx)
{
    ngx_http_clean_header(ctx->request);

    ctx->request->header_only = 0;
    ctx->head = 0;

    ngx_http_sclera_free_gather(ctx);
}


static void
ngx_http_sclera_abort(ngx_http_sclera_ctx_t *ctx)
{
    ngx_int_t            rc;
    ngx_http_request_t  *r;

    r = ctx->request;

    if (!ctx->head_sent) {
        ngx_http_sclera_finalize(ctx, NGX_HTTP_BAD_GATEWAY);
        return;
    }

    rc = NGX_ERROR;

    if (!r->header_only) {

        /* what there was is sent, the end of the response is not */

        r->keepalive = 0;

        if (ngx_http_sclera_flush(ctx) != NGX_ERROR) {
            rc = ngx_http_send_special(r, NGX_HTTP_FLUSH);
        }
    }

    ngx_http_sclera_finalize(ctx, rc);
}


static void
ngx_http_sclera_finalize(ngx_http_sclera_ctx_t *ctx, ngx_int_t rc)
{
    ngx_http_request_t  *r;

    r = ctx->request;

    ngx_http_sclera_release(ctx);

    r->read_event_handler = ngx_http_block_reading;
    r->write_event_handler = ngx_http_request_empty_handler;

    /* half a response cannot become an error page */

    if (rc >= NGX_HTTP_SPECIAL_RESPONSE && ctx->head_sent
        && rc != NGX_HTTP_REQUEST_TIME_OUT)
    {
        rc = NGX_ERROR;
    }

    ngx_http_finalize_request(r, rc);
}


/* the one way out of every exchange */

static void
ngx_http_sclera_release(ngx_http_sclera_ctx_t *ctx)
{
    sclera_failure       failure;
    ngx_http_request_t  *r;

    r = ctx->request;

    ngx_http_sclera_note_outcome(ctx);

    failure.size = sizeof(sclera_failure);

    if (sclera_exchange_failure(ctx->exchange, &failure)) {
        ngx_log_error(NGX_LOG_ERR, r->connection->log, 0, "sclera: %s",
                      failure.message);
    }

    *ctx->cleanup = NULL;
    ngx_queue_remove(&ctx->queue);

    if (ctx->event.timer_set) {
        ngx_del_timer(&ctx->event);
    }

    if (ctx->event.posted) {
        ngx_delete_posted_event(&ctx->event);
    }

    if (ctx->link) {
        ngx_http_sclera_leave_link(ctx);
    }

#if (NGX_HTTP_V2)

    if (r->stream && ctx->piece.pos != ctx->piece.last) {
        ngx_pool_cleanup_t  *cln;

        /* a frame half written outlives the request, and points at the exchange's bytes */

        cln = ngx_pool_cleanup_add(r->pool, 0);

        if (cln) {
            cln->handler = ngx_http_sclera_free_exchange;
            cln->data = ctx->exchange;
        }

        ctx->exchange = NULL;
        return;
    }

#endif

    sclera_exchange_free(ctx->exchange);
    ctx->exchange = NULL;
}


static void
ngx_http_sclera_cleanup(void *data)
{
    ngx_http_sclera_release(data);
}


static void
ngx_http_sclera_free_exchange(void *data)
{
    sclera_exchange_free(data);
}
