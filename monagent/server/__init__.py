"""The reference server: issues tickets, sends commands, keeps what comes back."""
