// Command dial has a telephone call a number.
//
//	go run ./examples/api/dial 100 101
//
// TR87_URL is the proxy (http://127.0.0.1:8880), TR87_TOKEN the token; without one, the proxy knows you by your address.
package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"time"
)

var client = &http.Client{Timeout: 40 * time.Second}

// dial returns the call. The same Idempotency-Key at each attempt: however often it is sent, one call is placed.
func dial(device, number string) (call string, err error) {
	key := rand.Text()
	for range 4 {
		var retry time.Duration
		if call, retry, err = post(device, number, key); err == nil || retry == 0 {
			break
		}
		time.Sleep(retry)
	}
	return call, err
}

// post sends the request once. With an error, it says after what time to try again; 0: it would be the same.
func post(device, number, key string) (call string, retry time.Duration, err error) {
	body, err := json.Marshal(map[string]string{"to": number})
	if err != nil {
		return "", 0, err
	}
	path := cmp.Or(os.Getenv("TR87_URL"), "http://127.0.0.1:8880") + "/v1/devices/" + url.PathEscape(device) + "/calls"
	request, err := http.NewRequestWithContext(context.Background(), http.MethodPost, path, bytes.NewReader(body)) //nolint:gosec // the user names the proxy
	if err != nil {
		return "", 0, err
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Idempotency-Key", key)
	if token := os.Getenv("TR87_TOKEN"); token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := client.Do(request) //nolint:gosec // the user names the proxy
	if err != nil {
		return "", time.Second, err
	}
	defer func() { _ = response.Body.Close() }()
	var answer struct{ Call, Detail string }
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		return "", time.Second, err
	}
	if response.StatusCode == http.StatusCreated {
		return answer.Call, 0, nil
	}
	seconds, _ := strconv.Atoi(response.Header.Get("Retry-After")) // without it, 0
	return "", time.Duration(seconds) * time.Second, errors.New(answer.Detail)
}

func main() {
	log.SetFlags(0)
	if len(os.Args) != 3 {
		log.Fatal("usage: dial DEVICE NUMBER")
	}
	call, err := dial(os.Args[1], os.Args[2])
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("call", call)
}
