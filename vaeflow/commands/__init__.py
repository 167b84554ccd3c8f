"""What a command does with a finished run or with this machine."""
