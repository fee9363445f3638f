"""What people define: hosts, sensors, schedules, probes and whom to tell; and the rows that follow from it."""
