#pragma once

namespace holdfast {

// As of now a TLS connection of this process that has nothing to send or to read asks for 63 KiB
// less of the heap: OpenSSL gives its record buffers back (2 x 16.6 KiB), and the two pipes between
// it and gRPC hold 2 KiB each instead of 17. gRPC has no argument for either, and a server has a
// stream per node (docs/benchmarks.md). Any thread; a second call does nothing.
void keep_idle_tls_small();

}  // namespace holdfast
