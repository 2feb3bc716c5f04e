"""What was learned, judged by real steps that nothing is trained on."""
