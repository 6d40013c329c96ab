// The programs that the sample's image has beside the sample itself: the same binary, called by another name. As much of each as a
// reload without a restart needs; not a shell.

package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

var programs = map[string]func(arguments []string) error{"cat": cat, "kill": kill}

// runProgram ends the process if it was called by the name of a program.
func runProgram() {
	program, ok := programs[filepath.Base(os.Args[0])]
	if !ok {
		return
	}
	if err := program(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func cat(files []string) error {
	for _, name := range files {
		file, err := os.Open(name)
		if err != nil {
			return err
		}
		if _, err := io.Copy(os.Stdout, file); err != nil {
			return err
		}
		_ = file.Close()
	}
	return nil
}

var signals = map[string]syscall.Signal{
	"HUP": syscall.SIGHUP, "INT": syscall.SIGINT, "QUIT": syscall.SIGQUIT, "TERM": syscall.SIGTERM,
	"USR1": syscall.SIGUSR1, "USR2": syscall.SIGUSR2, "WINCH": syscall.SIGWINCH,
}

// kill takes `-HUP 1`.
func kill(arguments []string) error {
	if len(arguments) != 2 {
		return fmt.Errorf("usage: kill -SIGNAL PROCESS")
	}
	signal, ok := signals[strings.TrimPrefix(arguments[0], "-")]
	process, err := strconv.Atoi(arguments[1])
	if !ok || err != nil {
		return fmt.Errorf("usage: kill -SIGNAL PROCESS")
	}
	return syscall.Kill(process, signal)
}
