"""What tests share: small runs, jobs of several processes, the fork server, damage, plugins that are right or wrong."""
