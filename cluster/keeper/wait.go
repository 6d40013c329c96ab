package main

import (
	"crypto/tls"
	"net"
	"net/http"
	"strings"
	"time"
)

// answers waits until every target has answered; false when told to stop first. Certificates are not checked: this only says that
// something of this cluster is ready, nothing is sent to it.
func answers(targets []string, done <-chan struct{}) bool {
	client := &http.Client{
		Timeout:   2 * time.Second,
		Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, Proxy: nil},
	}
	for {
		for len(targets) > 0 && probe(client, targets[0]) {
			targets = targets[1:]
		}
		if len(targets) == 0 {
			return true
		}
		select {
		case <-done:
			return false
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func probe(client *http.Client, target string) bool {
	if strings.HasPrefix(target, "https://") {
		response, err := client.Get(target)
		if err != nil {
			return false
		}
		defer response.Body.Close()
		return response.StatusCode == http.StatusOK
	}
	network, address, _ := strings.Cut(target, ":")
	connection, err := net.DialTimeout(network, address, time.Second)
	if err != nil {
		return false
	}
	_ = connection.Close()
	return true
}
