#pragma once

#include <openssl/ssl.h>

#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"
#include "http/client.h"
#include "http/transport.h"

namespace roster::http {

using TlsContext = std::shared_ptr<SSL_CTX>;

/// TLS 1.2 and 1.3, forward secrecy and AEAD only, ALPN "http/1.1", no renegotiation, no
/// compression, no session resumption (tickets under a key that lives as long as the process would
/// undo forward secrecy, and a resumed session would outlive a certificate change).
/// kInvalidArgument when the PEM texts are not a chain and its key.
Result<TlsContext> server_tls_context(std::string_view certificate_pem, std::string_view key_pem);

/// Trust as ClientOptions says. kInvalidArgument for unusable authorities or fingerprint.
Result<TlsContext> client_tls_context(const ClientOptions& options);

/// In accept state.
SslPtr new_server_tls(const TlsContext& context);
/// In connect state; the handshake fails unless the certificate is for `host` (a name, or the text
/// of an IP address, which must be among the certificate's IP addresses).
Result<SslPtr> new_client_tls(const TlsContext& context, const std::string& host);

/// PEM of the chain that was verified, from the server's certificate to the authority.
std::string verified_chain_pem(SSL* ssl);

}  // namespace roster::http
