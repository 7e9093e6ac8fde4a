// Lets the search run in pages that are opened from disk, where browsers refuse to start a worker.
// What would be the worker runs in a hidden frame; the two talk as a page and its worker do.
// (Material for MkDocs would load such a script from elsewhere; this site loads nothing from there.)
if (location.protocol === "file:") {
  window.Worker = class IFrameWorker extends EventTarget {
    constructor(url) {
      super()
      const frame = document.createElement("iframe")
      frame.hidden = true
      document.body.append(frame)
      const inside = frame.contentWindow
      const tell = (target, data) => target.dispatchEvent(new MessageEvent("message", { data }))
      const script = inside.document.createElement("script")
      this.ready = new Promise((resolve) => (script.onload = resolve))
      this.deliver = (data) => tell(inside, data)
      inside.postMessage = (data) => tell(this, structuredClone(data))
      script.src = url
      inside.document.body.append(script)
    }

    // Messages wait until the script listens.
    postMessage(data) {
      const copy = structuredClone(data)
      this.ready.then(() => this.deliver(copy))
    }
  }
  // The search asks for this name to find its own files.
  window.IFrameWorker = window.Worker
}
