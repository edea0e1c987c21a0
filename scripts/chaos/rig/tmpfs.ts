/** @returns why a tmpfs of limited size cannot be mounted here and what to do, or `null` */
export function mountObstacle (): string | null {
  if (process.platform !== 'linux') return 'a tmpfs of limited size needs Linux'
  return process.geteuid?.() === 0
    ? null
    : 'mounting a tmpfs needs root: run it with sudo, or in a user namespace (unshare -rm npm run chaos …)'
}
