"""XML-RPC over HTTP, both ends: bytes ↔ values, one strict listener, one client with deadlines."""
