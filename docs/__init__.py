"""What people read, and the programs that write the pages made from code."""
