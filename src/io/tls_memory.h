#pragma once

namespace holdfast {

// As of now a TLS connection of this process that has nothing to send or to read asks for some 67
// KiB less of the heap: OpenSSL gives its record buffers back (2 x 16.6 KiB), the two pipes between
// it and gRPC hold 2 KiB each instead of 17, its keys are small, and no ticket is kept with which a
// client could come back sooner. gRPC has no argument for any of it, and a server has a stream per
// node (docs/benchmarks.md). Any thread; a second call does nothing.
void keep_idle_tls_small();

// The key exchange of this process's TLS connections: X25519 where the other side has it, which
// holds some 3 KiB less at either end than P-256. Part of the above, and for clients of such a
// server.
void prefer_x25519();

}  // namespace holdfast
