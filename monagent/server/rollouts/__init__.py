"""Roll-outs: a version of a sensor for more and more hosts, as long as it does well on those before."""
