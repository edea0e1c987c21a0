import java.nio.file.Files;
import java.nio.file.Path;
import java.util.regex.MatchResult;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.configuration.GlobalConfiguration;
import org.apache.flink.table.api.EnvironmentSettings;
import org.apache.flink.table.api.TableEnvironment;
import org.apache.flink.table.api.TableResult;

/**
 * Runs a file of SQL on a Flink of its own, within this process: FLINK_CONF_DIR has its configuration, FLINK_CHECKPOINT
 * a state to go on from. Statements are divided by empty lines. ${NAME} is replaced by the variable of that name. Ends
 * when the last statement ends, or has failed.
 */
public final class RunSql {
  private static final Pattern VARIABLE = Pattern.compile("\\$\\{(\\w+)}");
  private static final Pattern SET = Pattern.compile("SET '([^']+)' = '([^']*)'");

  public static void main(String[] args) throws Exception {
    Configuration configuration = GlobalConfiguration.loadConfiguration(System.getenv("FLINK_CONF_DIR"));
    TableEnvironment tables = TableEnvironment.create(
        EnvironmentSettings.newInstance().inStreamingMode().withConfiguration(configuration).build());
    String checkpoint = System.getenv("FLINK_CHECKPOINT");
    if (checkpoint != null) tables.getConfig().set("execution.state-recovery.path", checkpoint);
    TableResult last = null;
    String text = Files.readString(Path.of(args[0])).replaceAll("(?m)^--.*\n", "");
    for (String part : text.split("\n\\s*\n")) {
      String statement = VARIABLE.matcher(part.strip()).replaceAll(RunSql::toValue).replaceFirst(";$", "");
      Matcher set = SET.matcher(statement);
      if (set.matches()) tables.getConfig().set(set.group(1), set.group(2));
      else if (!statement.isEmpty()) last = tables.executeSql(statement);
    }
    System.out.println(checkpoint == null ? "started without a state" : "started from " + checkpoint);
    if (last != null) last.await();
  }

  private static String toValue(MatchResult variable) {
    String value = System.getenv(variable.group(1));
    if (value == null) throw new IllegalArgumentException("set " + variable.group(1));
    return Matcher.quoteReplacement(value.replace("'", "''"));
  }
}
