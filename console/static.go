package console

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"net/http"
	"path"
	"time"
)

//go:embed static
var files embed.FS

// static is the path of what the page loads.
const static = "/static/"

// types are the media types of the files, by the ends of their names. Others are text.
var types = map[string]string{
	".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".mjs": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8",
	".svg": "image/svg+xml", ".png": "image/png", ".json": "application/json",
}

// serveStatic serves what the page loads. Browsers keep it, and ask each time whether it is still the same.
func (c *Console) serveStatic(w http.ResponseWriter, r *http.Request) {
	data, err := files.ReadFile(path.Join("static", r.PathValue("path")))
	if err != nil {
		c.fail(w, r, http.StatusNotFound, "there is no such file")
		return
	}
	sum := sha256.Sum256(data)
	w.Header().Set("Cache-Control", "no-cache")
	w.Header().Set("ETag", `"`+hex.EncodeToString(sum[:8])+`"`)
	serveContent(w, r, r.PathValue("path"), data)
}

// servePage serves the page.
func servePage(w http.ResponseWriter, r *http.Request) {
	data, _ := files.ReadFile("static/index.html") // it is part of the program
	serveContent(w, r, "index.html", data)
}

func serveContent(w http.ResponseWriter, r *http.Request, name string, data []byte) {
	media := types[path.Ext(name)]
	if media == "" {
		media = "text/plain; charset=utf-8"
	}
	w.Header().Set("Content-Type", media)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
}
