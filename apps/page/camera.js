// The camera: its newest frame goes to the server, and the next one when the answer is there.

const WIDTH = 640; // most pixels across that are sent
const QUALITY = 0.85;

export class Camera {
  /**
   * @param video the element that plays the camera
   * @param onResult called with (canvas of the frame, what was found, milliseconds there and back)
   * @param onEnd called with a reason when the camera or the server is gone
   */
  constructor(video, onResult, onEnd) {
    this.video = video;
    this.onResult = onResult;
    this.onEnd = onEnd;
    this.frame = document.createElement("canvas");
    this.context = this.frame.getContext("2d");
  }

  /** Asks for the camera and begins to send; rejects where there is none or the user says no. */
  async start(address) {
    const wanted = { width: { ideal: WIDTH }, facingMode: "user" };
    this.stream = await navigator.mediaDevices.getUserMedia({ video: wanted, audio: false });
    this.stream.getVideoTracks()[0].onended = () => this.end("The camera is gone");
    this.video.srcObject = this.stream;
    await this.video.play();
    this.connect(address);
  }

  /** Goes on with another model, at another address. */
  connect(address) {
    this.socket?.close();
    const socket = (this.socket = new WebSocket(address));
    socket.onopen = () => this.next(socket);
    socket.onmessage = (event) => this.take(socket, JSON.parse(event.data));
    socket.onclose = (event) => {
      if (socket === this.socket) this.end(event.reason || "The server does not answer");
    };
  }

  /** Waits for a frame that has not been sent yet. */
  next(socket) {
    const send = () => this.send(socket);
    if (this.video.requestVideoFrameCallback) this.video.requestVideoFrameCallback(send);
    else requestAnimationFrame(send);
  }

  send(socket) {
    if (socket !== this.socket) return;
    const { videoWidth, videoHeight } = this.video;
    const scale = Math.min(1, WIDTH / videoWidth);
    this.frame.width = Math.round(videoWidth * scale);
    this.frame.height = Math.round(videoHeight * scale);
    this.context.drawImage(this.video, 0, 0, this.frame.width, this.frame.height);
    const write = (blob) => {
      if (socket !== this.socket || socket.readyState !== WebSocket.OPEN) return;
      this.sent = performance.now();
      socket.send(blob);
    };
    this.frame.toBlob(write, "image/jpeg", QUALITY);
  }

  take(socket, found) {
    if (socket !== this.socket) return;
    this.onResult(this.frame, found, performance.now() - this.sent);
    this.next(socket);
  }

  /** Lets go of the camera and the server. */
  stop() {
    const socket = this.socket;
    this.socket = null;
    socket?.close();
    for (const track of this.stream?.getTracks() ?? []) track.stop();
    this.video.srcObject = null;
  }

  end(reason) {
    this.stop();
    this.onEnd(reason);
  }
}
