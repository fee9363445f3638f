"""The sensors' packages: examined, kept in versions, handed out, and compared with what the hosts have."""
