/*
 * sclera_rustls.h: Sclera's C interface for programs that own their sockets and speak TLS through rustls.
 *
 * Link libsclera_rustls instead of libsclera: it exports everything that sclera.h declares, everything that rustls.h of
 * rustls-ffi 0.15.7 declares, and the two functions below. rustls.h is rustls' own; `make host` writes it to
 * build/include from the source that the library is built with. The contract of sclera.h holds here too.
 *
 * Licence: MIT OR Apache-2.0.
 */

#ifndef SCLERA_RUSTLS_H
#define SCLERA_RUSTLS_H

#include "rustls.h"
#include "sclera.h"

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Gives the TLS configuration of a server as it is now: the gateway's certificate and key, the trusted CAs, what is
 * verified, versions, suites, and sessions for resumption. Free it with rustls_client_config_free. When
 * sclera_protocol_target tells another generation, ask again, and retire the connections made with the old one.
 */
enum sclera_result sclera_rustls_client_config(const struct sclera_worker *worker, const char *server,
                                               const struct rustls_client_config **out);

/*
 * The number of the TLS alert that a result of rustls stands for, as sclera_protocol_broken takes it; -1 if it stands
 * for none.
 */
int32_t sclera_rustls_alert(uint32_t result);

#ifdef __cplusplus
}
#endif

#endif
