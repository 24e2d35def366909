from steadygan.cli import main

main()
