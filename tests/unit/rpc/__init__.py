"""XML-RPC over HTTP, tested with documents by hand, random ones, and real sockets."""
