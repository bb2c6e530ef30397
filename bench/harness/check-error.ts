/** What a measurement found wrong; it fails the run. */
export class CheckError extends Error {
  override readonly name = 'CheckError'
}
