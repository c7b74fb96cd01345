
#compdef diffcov

_diffcov_completion() {
  eval $(env _TYPER_COMPLETE_ARGS="${words[1,$CURRENT]}" _DIFFCOV_COMPLETE=complete_zsh diffcov)
}

compdef _diffcov_completion diffcov

