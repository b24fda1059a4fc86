/*
 * sclera.h: the C interface of Sclera, a memory-safe Web Gateway for InterSystems IRIS.
 *
 * Generated from src/ffi by `make header`; do not edit. Licence: MIT OR Apache-2.0.
 *
 * THE CONTRACT
 *
 * Life. Open a gateway before the fork (sclera_gateway_open): it reads CSP.ini and has no thread and no socket. Start a
 * worker in each process after the fork (sclera_worker_start), as the user that the process stays, and stop it at exit
 * (sclera_worker_stop). A worker has one thread of its own. The library must stay mapped while a worker runs; it is
 * linked so that unloading it has no effect.
 *
 * Ownership. A function that takes a pointer to a pointer (`out`) makes an object; the caller frees it once, with the
 * function its comment names. Everything else that is returned is borrowed, valid as long as its comment says. What a
 * caller passes in is copied, unless a comment says otherwise, and may be freed when the function has returned.
 *
 * Threads. Gateways and workers may be used by any thread at any time, except while they are freed. Exchanges,
 * connections and conversations belong to one thread at a time. Answers and trials may be read by any.
 *
 * Results. SCLERA_OK is 0. On any other result nothing was made and `out` was not written; sclera_last_error holds the
 * reason for this thread. No function ends the process: a fault of Sclera is caught and becomes SCLERA_PANIC, 0, NULL,
 * false or SCLERA_STEP_ABORT; nothing but freeing the object is then allowed.
 *
 * Pointers. NULL is refused with SCLERA_INVALID_ARGUMENT where an object is needed, and ignored by functions that free.
 * Strings (const char *) end with NUL and are UTF-8; slices need neither.
 *
 * Growth. Structs that begin with `size` may grow at their end: set it to sizeof the struct before passing it, also for
 * structs that are filled. A library takes the smaller structs of older hosts, and the larger ones of newer
 * hosts. SCLERA_ABI changes when anything else changes; compare it with sclera_abi() after loading.
 *
 * Secrets. No log line, error text, failure message or page holds a password or a key.
 *
 * One request with an event loop:
 *
 *     sclera_exchange_begin(worker, &request, &exchange);
 *     for (;;) switch (sclera_exchange_drive(exchange)) {
 *       case SCLERA_STEP_NEED_BODY: give request body, or return until there is some, then drive again
 *       case SCLERA_STEP_HEAD:      send the response head
 *       case SCLERA_STEP_BODY:      send what sclera_exchange_body gives, consume what was sent
 *       case SCLERA_STEP_WAIT:      watch what sclera_exchange_wants names; return; drive when it comes
 *       case SCLERA_STEP_DONE:      end the response;   sclera_exchange_free(exchange)
 *       case SCLERA_STEP_ABORT:     break the response; sclera_exchange_free(exchange)
 *     }
 *
 * A host with threads passes no userdata and calls sclera_exchange_wait where it would return.
 */
