// The configuration of the sample, and how it is told to read it again. It never looks by itself whether the file has changed.

package main

import (
	"errors"
	"log"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
)

// config is what CONFIG_FILE held when it was last read.
type config struct {
	file string
	lock sync.Mutex
	text string
}

func (c *config) get() string {
	c.lock.Lock()
	defer c.lock.Unlock()
	return c.text
}

// read keeps what was there if the file cannot be used.
func (c *config) read() error {
	if c.file == "" {
		return nil
	}
	text, err := os.ReadFile(c.file)
	if err != nil {
		return err
	}
	if strings.Contains(string(text), "crash") {
		return errors.New("the configuration says crash: this version exits as soon as it has read it")
	}
	c.lock.Lock()
	defer c.lock.Unlock()
	c.text = string(text)
	return nil
}

// reloadBySignal makes SIGHUP read the file again; without it, SIGHUP ends the process.
func (c *config) reloadBySignal() {
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	go func() {
		for range hangups {
			if err := c.read(); err != nil {
				log.Fatal(err)
			}
			log.Print("the configuration was read again")
		}
	}()
}

// reloadByRequest refuses what cannot be used, and lives on.
func (c *config) reloadByRequest(w http.ResponseWriter, _ *http.Request) {
	if err := c.read(); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}
