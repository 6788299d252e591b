package console

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"io/fs"
	"net/http"
	"path"
	"strings"
	"sync"
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

// asset is a file that the page loads.
type asset struct {
	data       []byte
	media, tag string
}

// assets returns the files by their names. They are read once: anybody may ask for them.
var assets = sync.OnceValue(func() map[string]asset {
	table := map[string]asset{}
	_ = fs.WalkDir(files, "static", func(name string, entry fs.DirEntry, _ error) error {
		if entry.IsDir() {
			return nil
		}
		data, _ := files.ReadFile(name) // it is part of the program
		sum := sha256.Sum256(data)
		media, known := types[path.Ext(name)]
		if !known {
			media = "text/plain; charset=utf-8"
		}
		table[strings.TrimPrefix(name, "static/")] = asset{data, media, `"` + hex.EncodeToString(sum[:8]) + `"`}
		return nil
	})
	return table
})

// serveStatic serves what the page loads. Browsers keep it, and ask each time whether it is still the same.
func (c *Console) serveStatic(w http.ResponseWriter, r *http.Request) {
	a, known := assets()[r.PathValue("path")]
	if !known {
		c.fail(w, r, http.StatusNotFound, "there is no such file")
		return
	}
	w.Header().Set("Cache-Control", "no-cache")
	w.Header().Set("ETag", a.tag)
	a.serve(w, r)
}

// servePage serves the page.
func servePage(w http.ResponseWriter, r *http.Request) { assets()["index.html"].serve(w, r) }

func (a asset) serve(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", a.media)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(a.data))
}
